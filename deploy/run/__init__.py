"""One run.

session.py     a pipeline: first version, actors, replay, end
join.py        a feed joined without a model
partitions.py  topics and shards: made, and grown while it runs
rate.py        events a second
replay.py      a recorded feed, held to event time
restore.py     a lost store made anew from commits
summary.py     the figures at the end
"""
