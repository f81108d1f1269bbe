"""The learner's history: its state is a fold over commits.

commit.py      one commit: samples in the order learned, position, digest of the state
draft.py       the commit that is being written
voids.py       samples that a later commit takes back
"""
