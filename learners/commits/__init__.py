"""The learner's history: its commits, learned again in their order, make the same state.

commit.py      one commit: samples in the order learned, position, digest of the state
state.py       the state after commits: learned again, and as bytes for another process
compact.py     as bytes that are kept
draft.py       the next commit, as it grows
checks.py      a state saved and loaded must go on as the one that was not
voids.py       samples that a later commit takes back
forget.py      commits as if some events had never been
"""
