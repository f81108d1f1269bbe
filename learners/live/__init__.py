"""Live experts: learned from each outcome, beside the compressed network.

settings.py    what a pipeline says of them
make.py        the pool that it asks for
pool.py        which experts answer and learn, when
experts/       who answers
mixtures/      what they say, made one answer
tables/        weights, one a slot
features/      rows as slots of tables
reading.py     which fields are read for which task
change.py      whether the world has changed
news.py        how late outcomes are; k80
held.py        outcomes that are held until their time
past.py        history as it happened
recent.py      how wrong an expert was lately
compiled.py    functions that numba compiles
"""
