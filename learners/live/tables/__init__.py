"""Tables of weights, one a slot.

gaussian.py    Gaussian weights
adaptive.py    normalized adaptive steps
softmax.py     both, of classes of which one applies
several.py     both, of labels of which any apply
pairs.py       Gaussian weights of items, learned from pairs
rewards.py     Gaussian weights of what each action brings
number.py      Gaussian weights of a number
arrays.py      what an expert holds, as state
"""
