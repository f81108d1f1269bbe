"""Candidates to champions, and back.

evaluator.py   tests each candidate on the commits that follow it; measures and watches what serves
recomputed.py  whether what was served is what torch computes; alarms
decisions.py   which version follows from a verdict, an alarm or a person's order
conductor.py   makes it, once
"""
