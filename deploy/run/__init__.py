"""One run.

running.py     a pipeline's run begins: services, first version, actors
begun.py       what another registry's feed has learned, to begin with
nodes.py       and where its roles are: here, or on a cluster
ahead.py       when its actors begin: before the run that it takes over from ends
detached.py    a run that outlives its command, on a cluster
session.py     and goes on: looks, replay, figures
join.py        a feed joined without a model: services, workers, end
view.py        one look at a join
claim.py       one run of a feed at a time
partitions.py  topics and shards: created, and grown while it runs
watch.py       how the broker's topics are, asked by a thread
replay.py      a recorded feed, held to event time
stall.py       waiting for a loop that may be slow, but not for one that stands still
keeping.py     how much of the log stays, and what of it the broker must no longer have
left.py        what a run leaves to the next start
restore.py     a lost store rebuilt from commits
rate.py        events a second
summary.py     the figures at the end
"""
