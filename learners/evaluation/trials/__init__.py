"""Candidates under test: what they answer beside the champions, in prediction order, and when one is proven.

wealth.py      W, evidence that stays valid however often it is looked at
lasting.py     L, evidence from whole days, for what is no refresh of the same recipe
interval.py    how large the gain is, to be shown
contestant.py  a model that answers beside what serves, under its own live intercept
asked.py       the predictions that no trial has done with, with what is known of their labels
pair.py        a candidate against one champion
trial.py       a candidate against every champion since its trial began
trials.py      all trials of a feed: looks at ends of days, accessions, and how many run at once
"""
