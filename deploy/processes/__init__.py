"""Each role in a process of its own.

roles.py       what each role is put together from
actors.py      Ray: an actor for each role
crew.py        the processes of a join without a model
worker.py      one of them
"""
