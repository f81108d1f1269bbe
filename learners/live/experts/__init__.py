"""Who answers beside the deep part, and learns each outcome.

expert.py      what the pool asks of an expert
wide.py        tables over all fields, as an expert
order.py       a table over the items of a ranking, as an expert
chain.py       the hazard chain: who still waits, and what came next
checked.py     a user's own, whose faults are named
pickled.py     models of other packages, as state
around.py      an expert made of another
estimated.py   chances beside log odds, for models that estimate rewards
"""
