"""What a task's classes or actions are called: by their indices, 0 to K − 1, or by K names.

Owns how a name becomes an index, and the words in which a wrong one is refused. Does not know losses.
"""

import difflib
from collections.abc import Sequence
from typing import Any, TypeAlias

from compressors.arguments import shown
from streams.errors import ConfigError, MalformedEvent
from streams.events import Label

Names: TypeAlias = int | tuple[str, ...]  # K, or the K names
LOOKED_AT = 1_000  # names among which the nearest is looked for
LISTED = 10


def names_of(given: Any, where: str, least: int) -> Names:
    """Return K, or K names as a tuple.

    Raises:
        ConfigError: neither a whole number of at least `least`, nor so many names, each another text.
    """
    if isinstance(given, int) and not isinstance(given, bool) and given >= least:
        return given
    names = tuple(given) if isinstance(given, Sequence) and not isinstance(given, str) else ()
    if len(names) >= least and all(isinstance(name, str) for name in names) and len({*names}) == len(names):
        return names
    raise ConfigError(
        f"{where} must be a whole number, at least {least}, or so many different names, got {shown(given)}"
    )


def size(names: Names) -> int:
    """Return K."""
    return names if isinstance(names, int) else len(names)


def index_of(label: Label, names: Names, what: str) -> int:
    """Return which one a label means, by its name or its index; `what` it is one of.

    Raises:
        MalformedEvent: none; the message has the nearest name.
    """
    if isinstance(label, float | int) and 0 <= label < size(names) and label == int(label):
        return int(label)
    if isinstance(names, int) or not isinstance(label, str):
        more = "" if isinstance(names, int) else ", or a name"
        hint = f"; text needs a task with the {what}'s names" if isinstance(label, str) else ""
        raise MalformedEvent(
            f"a {what} label is a whole number from 0 to {size(names) - 1}{more}, got {shown(label)}{hint}"
        )
    if label in names:
        return names.index(label)
    near = difflib.get_close_matches(label, names[:LOOKED_AT], n=1)
    more = ", …" if len(names) > LISTED else ""
    right = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(names[:LISTED])}{more}"
    raise MalformedEvent(f"no {what} is called {shown(label)}; {right}")


def name_of(index: int, names: Names) -> int | str:
    """Return the name of an index; the index itself where there are no names."""
    return index if isinstance(names, int) else names[index]
