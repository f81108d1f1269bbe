"""Live experts: learned from each outcome, beside the compressed network.

settings.py    what a pipeline says of them
make.py        the pool that it asks for
pool.py        which experts answer and learn, when
mixture.py     what they say, made one answer
news.py        how late outcomes are; k80
held.py        outcomes that are held until their time
past.py        history as it happened
expert.py      what the pool asks of an expert
recent.py      how wrong an expert was lately
wide.py        tables over all fields, as an expert
chain.py       the hazard chain: who still waits, and what came next
gaussian.py    tables of Gaussian weights
adaptive.py    tables of normalized adaptive steps
features.py    rows as slots of tables
hashing.py     slots of tokens, curves of numbers, and crosses
spread.py      mean, spread and quantiles of numbers
reader.py      rows as tokens, numbers and words
rows.py        what the reader returns
fields.py      what each field is to a table, by its type
arrays.py      what an expert holds, as state
compiled.py    functions that numba compiles
"""
