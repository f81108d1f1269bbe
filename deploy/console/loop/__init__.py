"""What is shown of a run: while it goes on, and at its end.

terminal.py    what is shown while a loop runs
view.py        the live view and its tables
picture.py     the live view as an SVG
canary.py      how far a canary is
freshness.py   how fresh predictions are
report.py      the tables at its end
ending.py      what is said when a signal ends a run
"""
