"""What a model answers, and what is measured of it.

task.py        the contract: target, loss, slope and bounds
binary.py      yes or no
classes.py     one of K classes
regression.py  a number
"""
