"""Samples to candidates.

bootstrap.py   history into the first version
learner.py     sample streams into commits
attempts.py    failures counted where they outlive the process
candidates.py  a pipeline's learner, its history, and a student into an artifact
distiller.py   a due commit into a candidate
"""
