"""The command line.

main.py        demo, run, join, status
operate.py     audit, end-of-feed, accept-loss, dead
compress.py    compress, advise, inspect
options.py     the options that several commands have
"""
