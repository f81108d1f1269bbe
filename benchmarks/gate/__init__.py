"""The gate and the way back, beside other rules: false promotions, samples to a proof, false rollbacks a year.

__main__.py     runs all, prints the tables and one line of JSON
differences.py  real differences of losses: weekly siblings of a small model on flights
returning.py    years of equal versions, and how soon a worse one is seen
"""
