"""Tables of weights, one a slot.

gaussian.py    Gaussian weights
adaptive.py    normalized adaptive steps
softmax.py     both, of several classes
number.py      Gaussian weights of a number
arrays.py      what an expert holds, as state
"""
