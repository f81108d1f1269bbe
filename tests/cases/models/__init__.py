"""Models as people have them, compressed, served and learned online.

nets.py       networks, rows and recipes for the cases of compression
learn.py      a learner, samples and losses for those of online learning
"""
