"""The two networks that learn, teacher and shadow.

network.py     one network: a training step, its optimizer and average
models.py      the two networks made of a user's model, and what is refused there
average.py     what candidates are made of: weights averaged by samples, statistics measured anew
adamw.py       the optimizer
tables.py      large embeddings, learned by the rows that are touched
tensors.py     a model's parameters and buffers, read and restored
modes.py       whether a model answers otherwise while it trains
noise.py       private updates: slopes sample by sample, cut, and noise
units.py       whole units that the shadow loses, and how its state records that
"""
