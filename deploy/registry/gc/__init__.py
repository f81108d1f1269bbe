"""What of a registry is kept, for what, and the sweep of what nothing needs.

needs.py   what each blob is kept for, by the records
sweep.py   what stays and what goes; the sweep, and one that a run does by itself
"""
