"""What is done to a join.

audit.py       whether everything is there: the equations, and the log joined again
rebuilt.py     its commits learned again
emitted.py     what was emitted
dead.py        records that could not be read, and publishing them again
actions.py     end it, accept a loss
"""
