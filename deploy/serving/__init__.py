"""Requests to predictions.

server.py      the role: decode, score, answer
champion.py    the newest champion, loaded and warm
"""
