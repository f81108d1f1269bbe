"""What is shown of a join and its events.

join.py        a join without a model
audit.py       how an audit looks
dead.py        how dead letters look
held.py        how held sources look
counters.py    counts, each with its meaning
doubts.py      warnings, each once, and advice
"""
