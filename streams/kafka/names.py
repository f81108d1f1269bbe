"""Kafka's rule for the names of topics.

Owns what a name may be, and which two names a broker takes for one. Imports no client: names are checked before
anything connects.
"""

import re

MOST_CHARS = 249
REFUSED = re.compile(r"[^a-zA-Z0-9._-]")
INTERNAL = ("__consumer_offsets", "__transaction_state", "__share_group_state", "__cluster_metadata")


def fault(name: str) -> str | None:
    """Return why Kafka takes no topic of this name, None where it does.

    >>> fault("ads.outcomes")
    >>> fault("ads outcomes")
    "it has ' ', and may have only letters, digits, '.', '_' and '-'"
    """
    if found := REFUSED.search(name):
        return f"it has {found[0]!r}, and may have only letters, digits, '.', '_' and '-'"
    if not 1 <= len(name) <= MOST_CHARS:
        return f"it has {len(name)} characters, and may have 1 to {MOST_CHARS}"
    if name in (".", ".."):
        return "'.' and '..' stand for folders"
    return "that topic is Kafka's own" if name in INTERNAL else None


def same(one: str, other: str) -> bool:
    """Return whether a broker takes two names for one: its metrics know no difference between '.' and '_'.

    >>> same("ads.dead", "ads_dead")
    True
    """
    return one.replace(".", "_") == other.replace(".", "_")
