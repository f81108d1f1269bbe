"""Every renderer: data in, words and tables out.

terminal.py    what is shown while a loop runs
view.py        the live view and its tables
picture.py     the live view as an SVG
report.py      the tables at its end
join.py        what is shown of a join without a model
ending.py      what is said when a signal ends a run
metrics/       a look for Prometheus
audit.py       how an audit looks
rebuild.py     how a version made again looks
backtest.py    how other policies' decisions look
receipts.py    how a receipt looks
doubts.py      warnings, each once, and advice
counters.py    counts, each with its meaning
fitted.py      rows that are never cut
held.py        how held sources look
dead.py        how dead letters look
"""
