"""Learning from each sample as it comes.

batches.py     samples into tensors
learner.py     teacher and shadow over one history; the whole state
models.py      the two networks made of a user's model, and what is refused there
network.py     one network: a training step, its optimizer and average
average.py     what candidates are made of: weights averaged by samples, statistics measured anew
adamw.py       the optimizer
tables.py      large embeddings, learned by the rows that are touched
tensors.py     a model's parameters and buffers, read and restored
modes.py       whether a model answers otherwise while it trains
private.py     Private: what private updates promise, and ε
noise.py       private updates: slopes sample by sample, cut, and noise
settings.py    Online: how both learn
gap.py         whether the version that serves has fallen behind the shadow: when a candidate is due
intercept.py   the live intercept
spread.py      the scale of a regression's labels, as they come
transforms/    layers that learn from rows, beside the weights
units.py       whole units that the shadow loses, and how its state records that
measure.py     the task in units of its labels' spread
absent.py      what a window that closed without an outcome teaches
past.py        weights that the shadow leaves in float, since the model reads them past their layers
"""
