"""The join: predictions and outcomes become samples, once each.

policy.py      windows, bounds and batch sizes
batch.py       records become events and dead letters
step.py        what goes into a step, and what comes back
join.lua       the step itself: one atomic script in the store
create.lua     a shard that is not there yet
add.lua        a shard's further partitions
trim.lua       samples that are no longer needed
store.py       shards, sample streams and the board
joiner.py      poll, decode, step, seek
lost.py        going on after records that retention removed
"""
