"""Where a sample comes from: its sources, by name.

Owns reading them from the features, and where a number's ranges end, which is state: the sixteenths of its first
values. Does not know what is made of a source.
"""

import math
from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from statistics import quantiles
from typing import Any, Protocol

from learners.live.features.fields import Fields, fields_of

FIRST = 1_000  # values of a number, of which its ranges are made
RANGES = 16  # of a number
VALUES = 64  # of a category that are sources by themselves
CHARS = 64  # of a source's name that are kept
OTHERS = "others"


class Sources(Protocol):
    """Names a sample's sources."""

    def meet(self, row: Any) -> None:
        """Take a row's values into account when sources are named."""
        ...

    def of(self, row: Any) -> Sequence[str]:
        """Return the names of the sources of one row of features."""
        ...

    def state(self) -> dict[str, Any]:
        """Return what changes, as JSON has it."""
        ...

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from a state."""
        ...


class Named:
    """One source a sample: a field of its features, or what a function says of them.

    >>> Named(lambda row: row["partner"]).of({"partner": "north"})
    ('north',)
    """

    def __init__(self, source: str | Callable[[Any], object]) -> None:
        self._read = (lambda row: value_at(row, source)) if isinstance(source, str) else source

    def meet(self, row: Any) -> None:
        """Learn nothing of it."""

    def of(self, row: Any) -> tuple[str]:
        """Return the name of its source."""
        return (str(self._read(row))[:CHARS],)

    def state(self) -> dict[str, Any]:
        """Return nothing: a name is a function of the features."""
        return {}

    def load(self, state: Mapping[str, Any]) -> None:
        """Have nothing to go on from."""


class Ranges:
    """A source for each range of a number and each value of a category: a sample has one of each field.

    >>> import msgspec
    >>> class Visit(msgspec.Struct):
    ...     country: str
    ...     age: float
    >>> ranges = Ranges(fields_of(Visit))
    >>> for age in range(1_000):
    ...     ranges.meet(Visit("GR", age / 10))
    >>> ranges.of(Visit("GR", 99.0)), ranges.of(Visit("FR", 99.0))
    (['age from 93.7438', 'country=GR'], ['age from 93.7438', 'country=others'])
    """

    def __init__(self, fields: Fields) -> None:
        self._categories, self._numbers = fields.categories, fields.numbers
        self._first: dict[str, list[float]] = {name: [] for name in fields.numbers}
        self._ends: dict[str, list[float]] = {}
        self._values: dict[str, dict[str, None]] = {name: {} for name in fields.categories}

    def meet(self, row: Any) -> None:
        """Make ranges of a number's first values; a category's first values are sources by themselves."""
        for name in self._numbers if len(self._ends) < len(self._numbers) else ():
            value = _number(value_at(row, name))
            if name not in self._ends and not math.isnan(value):
                self._first[name].append(value)
                if len(self._first[name]) == FIRST:
                    self._ends[name] = sorted(set(quantiles(self._first[name], n=RANGES)))
                    self._first[name].clear()
        for name, known in self._values.items():
            if len(known) < VALUES:
                known.setdefault(_text(value_at(row, name)))

    def of(self, row: Any) -> list[str]:
        """Return the names of its sources; a number whose ranges are not known yet has none."""
        found = [self._range(name, _number(value_at(row, name))) for name in self._numbers]
        found += [self._value(name, value_at(row, name)) for name in self._categories]
        return [name for name in found if name]

    def _range(self, name: str, value: float) -> str:
        if math.isnan(value):
            return f"{name} missing"
        ends = self._ends.get(name)
        if ends is None:
            return ""
        at = bisect_right(ends, value)
        low = f" from {ends[at - 1]:.6g}" if at else ""
        return f"{name}{low}" + (f" to {ends[at]:.6g}" if at < len(ends) else "")

    def _value(self, name: str, value: Any) -> str:
        text = _text(value)
        return f"{name}={text if text in self._values[name] else OTHERS}"

    def state(self) -> dict[str, Any]:
        """Return the ranges and values that are known, and the values of which ranges are to be made."""
        return {"first": self._first, "ends": self._ends, "values": {k: list(v) for k, v in self._values.items()}}

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from a state, as far as it is about the same fields."""
        self._first |= {name: list(first) for name, first in state["first"].items() if name in self._first}
        self._ends = {name: list(ends) for name, ends in state["ends"].items() if name in self._first}
        self._values |= {k: dict.fromkeys(v) for k, v in state["values"].items() if k in self._values}


def sources_of(source: str | Callable[[Any], object] | None, features: type) -> Sources:
    """Return what names a sample's sources.

    Raises:
        ConfigError: no source is named, and no field of the features can be read.
    """
    return Named(source) if source is not None else Ranges(fields_of(features))


def value_at(row: Any, name: str) -> Any:
    """Return a row's value at a path such as `user.age`; None where it has none."""
    for part in name.split("."):
        row = row.get(part) if isinstance(row, Mapping) else getattr(row, part, None)
    return row


def _text(value: Any) -> str:
    return str(getattr(value, "value", value))[:CHARS]


def _number(value: Any) -> float:
    try:
        return float(value)
    except (OverflowError, TypeError, ValueError):
        return math.nan
