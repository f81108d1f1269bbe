"""What of a registry is kept, for what, and the sweep of what nothing needs.

heads.py     what must be known of each commit
needs.py     what each blob is kept for, by the records
choosing.py  at which commit the log may begin, where old samples are let go
letting.py   that it begins there, and the deleting of what came before
sweep.py     what stays and what goes; the sweep, and one that a run does by itself
"""
