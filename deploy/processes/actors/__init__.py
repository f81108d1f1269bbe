"""Ray: roles and workers in actors. With the nodes' `node.py` the only files that import it.

actor.py      the loop of one role in an actor
member.py     one role that is looked after
system.py     all roles of a pipeline, begun again where they end
detached.py   what outlives the command on a cluster, by its name
far.py        a worker of a join, in an actor
"""
