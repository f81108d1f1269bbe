"""Samples in, better weights out.

tasks/         what is predicted: what a label means, the loss, and the metrics with their names
online/        teacher and shadow learning from each sample
live/          experts beside them, which learn from each outcome at once
commits/       the learner's history, from which its state can be rebuilt
bets.py        evidence that a mean has risen, whenever that began
evaluation/    a candidate against what was served, and the test that it must pass
"""
