"""Samples in, better weights out: tasks, online updates, commits, evaluation and the gate."""
