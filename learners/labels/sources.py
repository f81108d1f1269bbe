"""Where a sample comes from: its source, by name, or the ranges of its features, by number.

Owns reading them from the features, and where a number's ranges end, which is state: the sixteenths of its first
values. Does not know what is made of a source.
"""

from collections.abc import Callable, Mapping, Sequence
from statistics import quantiles
from typing import Any

import numpy as np
from numpy.typing import NDArray

from learners.live.features.fields import Fields

FIRST = 1_000  # values of a number, of which its ranges are made
RANGES = 16  # of a number
VALUES = 64  # of a category that are sources by themselves
CHARS = 64  # of a source's name that are kept
OTHERS = "others"


class Named:
    """One source a sample: a field of its features, or what a function says of them.

    >>> Named(lambda row: row["partner"]).of({"partner": "north"})
    'north'
    """

    def __init__(self, source: str | Callable[[Any], object]) -> None:
        self._read = (lambda row: value_at(row, source)) if isinstance(source, str) else source

    def of(self, row: Any) -> str:
        """Return the name of its source."""
        return str(self._read(row))[:CHARS]


class Ranges:
    """A source for each range of a number and each value of a category: a sample has one of each field, by a code.

    Code 0 is none: a number whose ranges are not known yet has it. `size` is the number of codes; `field` (size,) says
    of which field each is, −1 of 0.

    >>> import msgspec
    >>> from learners.live.features.fields import fields_of
    >>> class Visit(msgspec.Struct):
    ...     country: str
    ...     age: float
    >>> ranges = Ranges(fields_of(Visit))
    >>> codes = ranges.codes([Visit("GR", age / 10) for age in range(1_000)])
    >>> [[ranges.name(code) for code in row] for row in ranges.codes([Visit("GR", 99.0), Visit("FR", 99.0)])]
    [['age from 93.7438', 'country=GR'], ['age from 93.7438', 'country=FR']]
    """

    def __init__(self, fields: Fields) -> None:
        self._categories, self._numbers = fields.categories, fields.numbers
        self._first: dict[str, list[float]] = {name: [] for name in fields.numbers}
        self._ends: dict[str, list[float]] = {}
        self._values: dict[str, dict[str, int]] = {name: {} for name in fields.categories}
        slots = [RANGES + 1] * len(self._numbers) + [VALUES + 1] * len(self._categories)
        self._begins = np.cumsum([1, *slots])
        self.size = int(self._begins[-1])
        self.field = np.repeat(np.arange(-1, len(slots)), [1, *slots])

    def codes(self, rows: Sequence[Any], new: Sequence[bool] | None = None) -> NDArray[np.int64]:
        """Return the codes (N, F) of rows; values of those that are `new`, by default all, are made sources."""
        new = new if new is not None else [True] * len(rows)
        found = np.zeros((len(rows), len(self._numbers) + len(self._categories)), np.int64)
        for at, name in enumerate(self._numbers):
            values = _numbers(_column(rows, name))
            start = self._meet(name, values, new) if name not in self._ends else 0
            if start < len(rows):
                ranges = np.searchsorted(self._ends[name], values[start:], side="right")
                ranges[np.isnan(values[start:])] = RANGES
                found[start:, at] = self._begins[at] + ranges
        for at, name in enumerate(self._categories, len(self._numbers)):
            known, begin = self._values[name], self._begins[at]
            for n, value in enumerate(_column(rows, name)):
                text = _text(value)
                if text not in known and new[n] and len(known) < VALUES:
                    known[text] = len(known)
                found[n, at] = begin + known.get(text, VALUES)
        return found

    def _meet(self, name: str, values: NDArray[np.float64], new: Sequence[bool]) -> int:
        """Make ranges of a number's first values; return the row from which on they are known."""
        first = self._first[name]
        for at, value in enumerate(values.tolist()):
            if new[at] and value == value:
                first.append(value)
                if len(first) == FIRST:
                    self._ends[name] = sorted(set(quantiles(first, n=RANGES)))
                    first.clear()
                    return at
        return len(values)

    def name(self, code: int) -> str:
        """Return the name of a code's range or value; "" where it is none, or none yet."""
        at = int(self.field[code])
        of = code - int(self._begins[at])
        if at < 0:
            return ""
        if at < len(self._numbers):
            name = self._numbers[at]
            if of == RANGES:
                return f"{name} missing"
            ends = self._ends.get(name, [])
            low = f" from {ends[of - 1]:.6g}" if 0 < of <= len(ends) else ""
            return f"{name}{low}" + (f" to {ends[of]:.6g}" if of < len(ends) else "")
        name = self._categories[at - len(self._numbers)]
        known = list(self._values[name])
        return f"{name}={known[of] if of < len(known) else OTHERS}"

    def code(self, name: str) -> int:
        """Return the code of a name; 0: it is none."""
        return next((code for code in range(1, self.size) if self.name(code) == name), 0)

    def state(self) -> dict[str, Any]:
        """Return the ranges and values that are known, and the values of which ranges are to be made."""
        return {"first": self._first, "ends": self._ends, "values": {k: list(v) for k, v in self._values.items()}}

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from a state, as far as it is about the same fields."""
        self._first |= {name: list(first) for name, first in state["first"].items() if name in self._first}
        self._ends = {name: list(ends) for name, ends in state["ends"].items() if name in self._first}
        found = {k: {text: n for n, text in enumerate(v)} for k, v in state["values"].items()}
        self._values |= {k: v for k, v in found.items() if k in self._values}


def value_at(row: Any, name: str) -> Any:
    """Return a row's value at a path such as `user.age`; None where it has none."""
    for part in name.split("."):
        row = row.get(part) if isinstance(row, Mapping) else getattr(row, part, None)
    return row


def _column(rows: Sequence[Any], name: str) -> list[Any]:
    if rows and ("." in name or isinstance(rows[0], Mapping)):
        return [value_at(row, name) for row in rows]
    return [getattr(row, name, None) for row in rows]


def _text(value: Any) -> str:
    return value[:CHARS] if type(value) is str else str(getattr(value, "value", value))[:CHARS]


def _numbers(values: Sequence[Any]) -> NDArray[np.float64]:
    """Return values as numbers, NaN where one is none."""
    try:
        return np.array(values, np.float64)
    except (OverflowError, TypeError, ValueError):
        return np.array([_number(value) for value in values], np.float64)


def _number(value: Any) -> float:
    try:
        return float(value)
    except (OverflowError, TypeError, ValueError):
        return float("nan")
