"""Samples to candidates.

bootstrap.py   history into the first version
learner.py     sample streams into commits
attempts.py    failures counted where they outlive the process
distiller.py   a due commit into a candidate
"""
