"""Samples in, better weights out.

tasks/         binary, classes, regression: each owns its target, loss, metrics and their names
online/        teacher and shadow learning from each sample
commits/       the learner's history, of which its state is a fold
evaluation/    a candidate against what was served, and the gate between them
"""
