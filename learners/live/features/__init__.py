"""Rows of a pipeline's features as slots of tables.

fields.py      what each field is to a table, by its type
reader.py      rows as tokens, numbers and words
rows.py        what the reader returns
features.py    rows as slots
hashing.py     slots of tokens, curves of numbers, and crosses
spread.py      mean, spread and quantiles of numbers
"""
