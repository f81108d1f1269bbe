"""What a run has recorded, decided again under other policies; and a record made of events alone.

policies.py    policy files
scratch.py     a registry in which what is decided again is kept apart
answers.py     what a policy's own versions would have answered
again.py       the evaluator and the conductor over the record, under one policy
decided.py     one pass for several policies, and what is told of each
worker.py      a process that makes such a pass
shares.py      the policies shared out to processes
lines.py       records from a file of JSON lines, compressed or not
events.py      requests and outcomes from files or topics, in order of event time
log.py         a log in memory, which the roles read and write
learned.py     events learned by the loop's roles, in one process
"""
