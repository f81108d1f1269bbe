"""The advisor: many recipes tried on a model and this machine, one of them picked with its reason.

search.py      the budget, the trials, and which recipe is tried next
advise.py      all trials of a model, and the recipe to take
picture.py     a plot of loss against latency and size
"""
