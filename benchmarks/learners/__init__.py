"""How well learners answer real streams whose outcomes come late, ours and peers.

__main__.py     runs all, prints a table a stream and one line of JSON
feeds.py        the streams
live.py         our contenders, each a process of its own
network.py      a small network that learns each outcome as it lands
plain.py        the pipeline that says nothing but its features
"""
