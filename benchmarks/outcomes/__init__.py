"""How well live experts answer streams of classes and of numbers, beside River.

__main__.py       runs all, prints a table a stream
outcome_feeds.py  the streams
"""
