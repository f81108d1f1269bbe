"""The machines on which roles run: a Ray of our own, or a cluster.

node.py       Ray's own processes: started here or joined, seen alive, ended
remains.py    what a Ray of our own leaves behind, and its end
cluster.py    whether a Ray cluster answers at an address, and anybody
enough.py     whether roles can work on a cluster's nodes
code.py       a pipeline's folder, as it goes there
"""
