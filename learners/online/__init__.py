"""Learning from each sample as it comes.

learner.py     teacher and shadow over one history; the whole state
batches.py     samples into tensors
networks/      the two networks: their steps and averages, and what is refused there
transforms/    layers that learn from rows, beside the weights
log.py         what live experts are told of the log
measure.py     the task in units of its labels' spread
spread.py      the scale of a regression's labels, as they come
intercept.py   the live intercept
gap.py         whether the version that serves has fallen behind the shadow: when a candidate is due
absent.py      what a window that closed without an outcome teaches
past.py        weights that the shadow leaves in float, since the model reads them past their layers
settings.py    Online: how both learn
private.py     Private: what private updates promise, and ε
"""
