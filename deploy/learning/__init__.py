"""Samples to candidates.

bootstrap.py   makes the first version, of the history
taken.py       or of what another feed has learned
learner.py     learns the samples and writes commits
syncs.py       the shadow's average, offered to the servers between two promotions
rules.py       when a commit is made and keeps its state, and when a candidate is due
opened.py      how many predictions were opened, told once all outcomes up to then are learned
withheld.py    samples that are held: learned once they are released, and said
rehearsal.py   a pipeline's functions called once, before anything starts
attempts.py    counts failures, so that a sample that always fails is found
candidates.py  what these share: a pipeline's learner, its history, a student as an artifact
distiller.py   makes a candidate when a commit says that one is due
"""
