"""Distillation, and the training loop that it shares with retraining.

distill.py     the loss that a teacher adds, and how far the teacher is trusted
hidden.py      hidden states and attention maps of two models, compared
train.py       one training step of a recipe, with pruning during it
"""
