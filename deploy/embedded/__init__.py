"""Children that end with us.

servers.py     broker and store as child processes
child.py       a process of ours: its work, its log, its error, its end
keeper.py      what stands between us and one of them
services.py    broker and store of a run: embedded or given, watched, found again
"""
