"""Requests to predictions.

server.py      the role: decode, score, answer
champion.py    the newest champion, loaded and warm
engines.py     what runs it
measuring.py   which engine is fastest, measured in a process beside the server
"""
