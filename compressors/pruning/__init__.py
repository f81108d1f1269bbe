"""Weights set to zero, and whole units removed.

prune.py       masks by amount, threshold and pattern; the cubic schedule
refresh.py     masks swapped while the form keeps learning (RigL)
structured.py  whole neurons, channels and heads removed:
trace.py       who reads which unit, found by running the model,
hooks.py       what is watched while it runs,
groups.py      which units must go together,
cuts.py        how the tensors of a layer are cut,
remove.py      cut, checked, and put back where the model no longer runs,
shapes.py      and the shapes remembered, so that a model can be cut again
"""
