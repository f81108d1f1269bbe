"""A pipeline that has changed since it was run last: what is another, and what follows at a start.

parts.py     what a pipeline is, by part, as text
code.py      the digest of a user's function
compare.py   what is another in each part, and what follows from it by itself
record.py    whether what was learned can be gone on with: the log is read, and what serves answers it again
plan.py      all of it together: what a start will do
fits.py      whether a pipeline can begin with what another registry's has learned
"""
