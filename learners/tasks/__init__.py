"""What a model answers, and what is measured of it.

task.py        the tasks: target, loss, slope and bounds
"""
