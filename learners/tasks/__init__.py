"""What is predicted: what a label is, the loss, and what is measured.

task.py            the contract: labels, loss, slope, bounds and metrics
metrics.py         streaming metrics, with their names and units
names.py           names of metrics that tasks share
vocabulary.py      names of classes and actions
logistic.py        the log loss of yes or no, logit by logit
binary.py          yes or no
classes.py         one of K classes
multilabel.py      any of K classes at once
feedback.py        what was done, how likely, and what it brought
bandit.py          one of K actions, by the rewards of those taken
ranking.py         an order of several items
next_token.py      the tokens that follow a text
sequence_score.py  scores or preferences of whole sequences that were generated
regression.py      a number: the middle of what may come, or a quantile
"""
