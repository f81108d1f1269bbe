"""Live experts: learned from each outcome, beside the compressed network.

settings.py    what a pipeline says of them
make.py        the pool that it asks for
pool.py        which experts answer and learn, when
mixture.py     what they say, made one answer; softmax.py of classes, several.py of any of them,
               number.py of numbers, policies.py of actions, orders.py of items
change.py      whether the world has changed
news.py        how late outcomes are; k80
held.py        outcomes that are held until their time
past.py        history as it happened
expert.py      what the pool asks of an expert
recent.py      how wrong an expert was lately
wide.py        tables over all fields, as an expert
order.py       a table over the items of a ranking, as an expert
reading.py     which fields are read for which task
estimated.py   chances beside log odds, for models that estimate rewards
chain.py       the hazard chain: who still waits, and what came next
features/      rows as slots of tables
tables/        weights, one a slot
compiled.py    functions that numba compiles
"""
