"""A candidate against what was served, on the same fresh samples.

evaluate.py    the trial, in prediction order
gate.py        the promotion policy and its test
scores.py      one model's metrics
"""
