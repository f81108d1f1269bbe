"""Each role in a process of its own.

roles.py      what each role is built from
clients.py    a role's connections, and the joiner
loop.py       a role's steps, and its retries
health.py     whether a role's process is well
restarts.py   when a role that has ended begins again
failures.py   why a role ended, in a line
crew.py       the workers of a join without a model
worker.py     one of them, as a process of this machine
actors/       roles and workers in Ray's actors
nodes/        the machines: a Ray of our own, or a cluster
"""
