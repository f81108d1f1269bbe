"""The join: predictions and outcomes become samples, once each.

policy.py      what is emitted when, windows, bounds and batch sizes
batch.py       records become events and dead letters
fits.py        what of an event the samples' reader cannot take
step.py        what goes into a step and what comes back, as types
join.lua       the step itself: one atomic script in the store
create.lua     creates a shard
add.lua        adds partitions to a shard
claim.lua      notes which run has a feed
trim.lua       drops samples that are no longer needed
owner.py       whose log a feed joins
bell.py        waking who waits for a note on the board
board.py       what roles tell one another, and which run has a feed
store.py       shards and sample streams, by commands
dates.py       whether the first events' times can be right
missed.py      what became no sample, and advice
joiner.py      polls, decodes, steps and seeks
lost.py        counts records that retention removed before they were read, and skips them
"""
