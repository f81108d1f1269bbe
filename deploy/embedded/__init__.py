"""Children that end with us.

servers.py     broker and store as child processes
keeper.py      what stands between us and one of them
services.py    broker and store of a run: embedded or given, watched, found again
"""
