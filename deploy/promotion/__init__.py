"""Candidates to champions.

evaluator.py   commits into verdicts and metrics
conductor.py   a proven verdict into the next champion
"""
