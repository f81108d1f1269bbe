"""What the parts of a Pipeline must be: checked when it is made, before anything starts, and said in its own words.

parts.py       functions and types: network, encoder, readers, features, recipe
tasks.py       the task, and what it asks of features and join
learning.py    live experts, trust, private updates, slices
recorded.py    history and recorded feed
"""
