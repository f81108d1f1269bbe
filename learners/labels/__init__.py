"""Which outcomes are learned.

settings.py    Trust: what a pipeline says
sources.py     where a sample comes from: a source that is named, or ranges of its features
holds.py       what is held of the log's entries
trust.py       a running trust by source, which holds samples for a person
"""
