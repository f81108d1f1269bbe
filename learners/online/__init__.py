"""Learning from each sample as it comes.

batches.py     samples into tensors
learner.py     teacher and shadow over one history; the whole state
network.py     one network: a training step, its optimizer and average
settings.py    Online: how both learn
intercept.py   the live intercept
units.py       whole units that the shadow loses, and how its state records that
"""
