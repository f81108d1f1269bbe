"""A candidate against what was served, on the same fresh samples.

evaluate.py    the trial, in prediction order
gate.py        the promotion policy and its test
metrics.py     streaming AUC and loss
"""
