"""Each role in a process of its own.

roles.py       what each role is built from
clients.py     a role's connections, and the joiner
loop.py        a role's steps, and its retries
actors.py      Ray: an actor for each role
node.py        Ray's own processes
health.py      whether a role's process is well
restarts.py    when a role that has ended begins again
cluster.py     whether a Ray cluster answers at an address, and anybody
nodes.py       whether roles can work on a cluster's nodes
code.py        a pipeline's folder, as it goes there
detached.py    what outlives the command on a cluster, by its name
failures.py    why a role ended, in a line
crew.py        the processes of a join without a model
worker.py      one of them
"""
