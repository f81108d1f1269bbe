"""Dead letters: records that were refused, kept with reason, position and bytes, and published again after a fix.

letters.py    the form of a letter, and of one that sums up many refused positions
limit.py      writes letters, at most so many a minute; what is refused beyond them is held, and summed up
refusals.py   the letters of a topic, by position
replay.py     publishes the records again, each once

The broker acknowledges a letter before a step counts its positions, or the same step holds them in the store: a crash
in between may write a letter twice, but never loses one. A position is the text "topic/partition/offset".
"""

from streams.dead.letters import Letter, StoredLetter, letter_time, reason_of
from streams.dead.limit import DeadLetters
from streams.dead.refusals import Refusal, Refused, reasons, refusals, refused_positions
from streams.dead.replay import Log, Replayed, replay

__all__ = [
    "DeadLetters",
    "Letter",
    "Log",
    "Refusal",
    "Refused",
    "Replayed",
    "StoredLetter",
    "letter_time",
    "reason_of",
    "reasons",
    "refusals",
    "refused_positions",
    "replay",
]
