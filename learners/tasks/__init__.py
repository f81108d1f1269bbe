"""What a model answers, and what is measured of it.

task.py        the contract: target, loss, slope, bounds and metrics
metrics.py     streaming metrics, with their names and units
binary.py      yes or no
classes.py     one of K classes
regression.py  a number
"""
