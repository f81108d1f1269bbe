"""Layers that learn from rows, beside the weights.

transform.py   rows that wait until their batch is learned
numbers.py     standardizing, cutting
tokens.py      vocabularies, hashing, target means
following.py   the transforms of one model, told of its rows
tabular.py     a model of a pipeline's features alone
"""
