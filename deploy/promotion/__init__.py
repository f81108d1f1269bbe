"""Candidates to champions.

evaluator.py   tests each candidate on the commits that follow it; measures what was served
conductor.py   makes a proven candidate the next champion
"""
