"""Requests in, predictions out.

server.py      the role: reads requests, answers them, writes predictions
champion.py    the newest champion, loaded; swapped between two micro-batches
"""
