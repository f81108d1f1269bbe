"""Versions in folders, to and from other registries; nothing here uses a network.

passport.py    what a folder says of its version: the record as it was signed, and all that is known of it
card.py        the same for people, as a model card
mlmodel.py     the file that makes a folder one of MLflow's
exporting.py   a version into a folder
folder.py      a folder read again, and checked
importing.py   what it holds into a registry: the first version, or a candidate
"""
