"""The audit of a join: what must hold, and the proof that it does.

equations.py   every position counted, every count balanced
history.py     what the log still holds, read again
rejoin.py      the join in plain Python
verify.py      both compared, and each difference explained
"""
