"""A learner's whole states, `states/N-O-CHAIN`: what a start or a rebuild goes on from.

names.py    their names, which say of which commit each is
kept.py     their bytes, and which one can be gone on from; what does not learn is kept once
beside.py   when one is taken, its copy, and the thread that writes it beside learning
"""
