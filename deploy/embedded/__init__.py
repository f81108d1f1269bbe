"""Child processes that end with their parent.

servers.py     broker and store as child processes: started, checked, ended
programs.py    which programs these are
bucket.py      the programs of a broker whose log is kept: an object store, and a broker on it
child.py       a child that runs our code: its work, its log, its error, its end
keeper.py      the process between the parent and a server
services.py    broker and store of a run: started where none is named, watched, found by other processes
"""
