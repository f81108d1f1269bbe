"""Many recipes tried on a model and this machine, one named and why.

search.py      the budget, and which recipe is tried next
advise.py      the trials, and the one to take
picture.py     loss against latency and size, drawn
"""
