"""Each role in a process of its own.

roles.py       what each role is built from
clients.py     a role's connections, and the joiner
loop.py        a role's steps, and its retries
actor.py       Ray: the loop of one role in an actor
member.py      one role that is looked after
actors.py      all roles of a pipeline, begun again where they end
node.py        Ray's own processes
remains.py     what a Ray of our own leaves behind, and its end
health.py      whether a role's process is well
restarts.py    when a role that has ended begins again
cluster.py     whether a Ray cluster answers at an address, and anybody
nodes.py       whether roles can work on a cluster's nodes
code.py        a pipeline's folder, as it goes there
detached.py    what outlives the command on a cluster, by its name
failures.py    why a role ended, in a line
crew.py        the workers of a join without a model
worker.py      one of them, as a process of this machine
far.py         one of them, in an actor
"""
