"""Pruning: weights set to zero, and whole units removed.

prune.py       masks by amount, threshold and pattern; the cubic schedule
refresh.py     masks changed while the form keeps learning (RigL)
structured.py  whole neurons, channels and heads removed, by means of the files below
trace.py       which layer reads which unit, found by running the model
hooks.py       modules replaced for a while, and numbers that Python reads
groups.py      which units must go together
cuts.py        how the tensors of a layer are cut
remove.py      units cut out, checked, and put back if the answers change
shapes.py      the shapes that result, and how a fresh model is given them
"""
