"""Guard rails: what a candidate that is proven must not do all the same, and what no version may do that serves.

guard.py      one guard rail's finding, its settings, and what a user's own function is given
outputs.py    of two models' outputs to the same rows
outcomes.py   of two models' losses, over the predictions of a test whose outcomes are known
latency.py    how long two models take, in alternating turns
judge.py      all of them together, and the user's own
"""
