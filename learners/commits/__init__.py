"""The learner's history: its commits, learned again in their order, make the same state.

commit.py      one commit: samples in the order learned, position, digest of the state
draft.py       the next commit, as it grows
voids.py       samples that a later commit takes back
"""
