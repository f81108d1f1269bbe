"""Tables of weights, one a slot.

gaussian.py    Gaussian weights
adaptive.py    normalized adaptive steps
arrays.py      what an expert holds, as state
"""
