"""The gate and the way back, beside other rules: false promotions, samples to a proof, false rollbacks a year.

__main__.py     runs all, prints the tables and one line of JSON
differences.py  real differences of losses: weekly siblings of a small model on flights
feeds.py        what rules are shown: candidates of several kinds that are as good as the champion
rules.py        when each rule promotes: ours by the product's functions, and the others
promoting.py    how often each rule promotes an equal candidate, and how soon a better one
returning.py    years of equal versions, and how soon a worse one is seen
"""
