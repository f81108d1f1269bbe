"""Every renderer: data in, words and tables out.

loop/          a run
join/          a join and its events
versions/      versions
metrics/       a look for Prometheus
gc.py          what a registry keeps
fitted.py      rows that are never cut
words.py       the words for figures, days and fates
"""
