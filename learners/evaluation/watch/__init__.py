"""Whether what serves has become worse than what served before: the way back.

detector.py   a change detector over blocks of differences
pair.py       a champion beside one reference: its detectors
watch.py      a champion beside those before it, over predictions in their order
"""
