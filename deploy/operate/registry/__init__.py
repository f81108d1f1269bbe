"""What is done to a feed's registry.

gc.py          what is kept and for what, and the sweep
backup.py      a copy, made while the feed goes on
sign.py        signed as it is, on a person's word
held.py        sources whose samples are held, and what a person says of them
"""
