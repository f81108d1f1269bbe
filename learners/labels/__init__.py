"""Which outcomes are learned.

settings.py    Trust: what a pipeline says
sources.py     where a sample comes from: a source that is named, or ranges of its features
holds.py       what is held of the log's entries
running.py     what every running trust does
trust.py       by a source that is named
ranges.py      by ranges of the features, where none is
reference.py   the answer of some weeks ago by which ranges are judged
make.py        which of them a pipeline has
"""
