"""Child processes that end with ours.

servers.py     broker and store as child processes: started, checked, ended
programs.py    which programs these are
child.py       a process of ours: its work, its log, its error, its end
keeper.py      the process between us and a server
services.py    broker and store of a run: started where none is named, watched, found by other processes
"""
