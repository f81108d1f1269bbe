"""What is predicted: what a label is, the loss, and what is measured.

task.py        the contract: labels, loss, slope, bounds and metrics
metrics.py     streaming metrics, with their names and units
names.py       names of metrics that tasks share
vocabulary.py  names of classes
binary.py      yes or no
classes.py     one of K classes
regression.py  a number
"""
