"""What events are written as: one reading of each value, or an error that names what is wrong.

written.py    one value in each format and type, and what it must be
"""
