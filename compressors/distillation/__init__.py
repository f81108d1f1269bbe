"""Learning from a teacher.

distill.py     what a teacher adds to the loss, and how far it is believed
hidden.py      hidden states and attention maps of two models, compared
train.py       one training step of a recipe, pruned on the way
"""
