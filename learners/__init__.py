"""Samples in, better weights out.

tasks/         binary, classes, regression: what a label is, the loss, and the metrics with their names
online/        teacher and shadow learning from each sample
commits/       the learner's history, from which its state can be rebuilt
evaluation/    a candidate against what was served, and the test that it must pass
"""
