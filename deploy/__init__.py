"""The running system: its floors from the top down, none of which imports one above it.

cli/           the commands
console/       every renderer: what one sees
operate/       what is done from another process
backtest/      what other promotion policies would decide, on a record or on events
run/           one run: services, processes, the replay, the end
processes/     each role in a process, under Ray or without
changes/       a pipeline that is another than at its last start
serving/       requests to predictions
learning/      samples to candidates
promotion/     candidates to champions
lineages.py    by which pipeline a version is asked
pipeline.py    what a user's pipeline.py says
engine.py      what runs an artifact, in every role the same
embedded/      broker and store as child processes that end with us
feed.py        what a user's feed.py says
monitor.py     how far everything is, as data
contradictions.py  settings that cannot go together
doubts.py      what a user must be told while a feed is joined
checks/        what the parts of a Pipeline must be
config.py      shadowstream.toml and the environment
registry/      what lasts
loading.py     a user's file, imported with the modules beside it
placement.py   where roles run, and what they need there
"""
