"""Every renderer: data in, words and tables out.

terminal.py    what one sees while a loop runs
view.py        the live view and its tables
picture.py     the live view as an SVG
report.py      the tables at its end
join.py        what one sees of a join without a model
audit.py       how an audit looks
counters.py    the join's counters, each with its meaning
dead.py        how dead letters look
"""
