"""The audit of a join: what must hold, and the proof that it does.

equations.py   the counters that must equal each other
history.py     the log read again: its events, and how late each may have arrived
rejoin.py      one id joined again, in plain Python
verify.py      compares that with what the join emitted, and explains differences
"""
