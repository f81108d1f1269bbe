"""Learning from each sample as it comes.

batches.py     samples into tensors
learner.py     teacher and shadow learning; averages; the whole state
intercept.py   the live intercept
units.py       whole units that the shadow loses, and the record of that
"""
