"""A candidate against what was served, on the same fresh samples.

evaluate.py    commits in, verdicts out
measured.py    every model's metrics
trials/        the tests of candidates, in prediction order
watch/         what serves beside what served before it: the way back
beside.py      what is served beside what another system answered
earlier.py     models of an earlier pipeline beside today's
guards/        what no version may do, proven or not
gate.py        the promotion policy
verdict.py     how a test ends
provisional.py negatives that may be corrected, so that an id counts once
scores.py      one model's metrics
slices.py      the metrics of what was served, by the values of a field
drift.py       which fields have changed
"""
