"""Rows of a pipeline's features as tokens, numbers and words.

A category's token is crc32("field=value"), a word's crc32("field word"), and that of what a field lacks (None, NaN)
crc32("field"). A row that lacks a field, or has another type there, is read as well as it can be. Owns reading, and
what is kept of it for speed: how rows are cut into batches changes nothing. Does not know slots.
"""

import math
import re
import zlib
from collections.abc import Callable, Iterator, Sequence
from enum import Enum
from itertools import chain, starmap
from numbers import Number
from operator import attrgetter, itemgetter
from struct import Struct, error
from typing import Any

import numpy as np

from learners.live.features.fields import Fields
from learners.live.features.rows import Doubles, Ints, Rows, UInts

WORD = re.compile(r"\w+")
WORDS, TEXT = 256, 5  # words of a text that count; words from which on a category's value is a text
KNOWN, LONG = 65_536, 256  # values of a category whose tokens are kept, and characters of the longest such value
KEPT = {bool, int, float, type(None)}  # of these too
WRONG = (AttributeError, KeyError, OverflowError, TypeError, ValueError, error)


def crc32(text: str, start: int = 0) -> int:
    """Return the checksum, never 0, of text that follows other text."""
    return zlib.crc32(text.encode("utf-8", "surrogatepass"), start) or 1


def is_text(value: str) -> bool:
    """Return whether a string is a text: it has so many words."""
    return len(value.split(maxsplit=TEXT)) >= TEXT


class Tokens(dict[Any, int]):
    """One category's tokens by value; equal values have one token.

    `texts`: whether a value was a text, whose token is 0; None where texts are categories too.
    """

    def __init__(self, field: str, texts: bool) -> None:
        super().__init__()
        self.field = field
        self._missing, self._start = crc32(field), crc32(f"{field}=")
        self.texts = False if texts else None

    def __missing__(self, value: Any) -> int:
        plain = value.value if isinstance(value, Enum) else value
        token = self._token(plain)
        if type(plain) in KEPT or (type(plain) is str and len(plain) <= LONG):
            if len(self) >= KNOWN:
                self.clear()
            self[value] = token
        return token

    def _token(self, value: Any) -> int:
        if value is None or value != value:
            return self._missing
        if self.texts is not None and isinstance(value, str) and is_text(value):
            self.texts = True
            return 0
        return crc32(_said(value), self._start)


class Reader:
    """Reads rows of one features type; the same rows, a tuple, are read once."""

    def __init__(self, fields: Fields) -> None:
        self.fields = fields
        self._tokens = [Tokens(name, name in fields.strings) for name in fields.categories]
        self._texts = {name: crc32(f"{name} ") for name in (*fields.texts, *fields.categories)}
        self._categories_of, self._numbers_of = (_values(names, fields.items) for names in fields[:2])
        self._packed = Struct(f"{len(fields.numbers)}d").pack
        self._last: tuple[Any, Rows] | None = None

    def read(self, rows: Sequence[Any]) -> Rows:
        """Return N rows' tokens, numbers and words."""
        if self._last is not None and rows is self._last[0]:
            return self._last[1]
        read = Rows(self._read_tokens(rows), self._read_numbers(rows), *self._read_words(rows))
        self._last = (rows, read) if type(rows) is tuple else None
        return read

    def _read_tokens(self, rows: Sequence[Any]) -> UInts:
        n, width = len(rows), len(self._tokens)
        find = [one.__getitem__ for one in self._tokens]
        try:
            columns = zip(*map(self._categories_of, rows), strict=True)
            found = np.fromiter(chain.from_iterable(map(map, find, columns)), np.uint32, n * width)
        except WRONG:
            names = self.fields.categories
            values = [[_hashable(self._value(row, name)) for row in rows] for name in names]
            found = np.fromiter(chain.from_iterable(map(map, find, values)), np.uint32, n * width)
        return np.ascontiguousarray(found.reshape(width, n).T)  # one layout: each is compiled for by itself

    def _read_numbers(self, rows: Sequence[Any]) -> Doubles:
        n, width = len(rows), len(self.fields.numbers)
        try:
            found = np.frombuffer(bytearray().join(starmap(self._packed, map(self._numbers_of, rows))))
        except WRONG:
            values = (_float(self._value(row, name)) for row in rows for name in self.fields.numbers)
            found = np.fromiter(values, np.float64, n * width)
        return found.reshape(n, width)

    def _read_words(self, rows: Sequence[Any]) -> tuple[UInts, Ints]:
        texts = (*self.fields.texts, *(tokens.field for tokens in self._tokens if tokens.texts))
        words, ends = list[int](), np.zeros(len(rows), np.int64)
        for i, row in enumerate(rows if texts else ()):
            for name in texts:
                words += self._words(name, self._value(row, name))
            ends[i] = len(words)
        return np.array(words, np.uint32), ends

    def _words(self, name: str, value: Any) -> Iterator[int]:
        if isinstance(value, list | tuple | set | frozenset):
            value = " ".join(map(str, value))
        if isinstance(value, Enum):
            value = value.value
        if not isinstance(value, str) or (name in self.fields.strings and not is_text(value)):
            return
        found: dict[str, None] = {}
        for word in WORD.finditer(value):
            if len(found) == WORDS:
                break
            found[word[0].lower()] = None
        yield from (crc32(word, self._texts[name]) for word in found)

    def _value(self, row: Any, name: str) -> Any:
        """Return a row's value at a path; None where it has none."""
        if self.fields.items:
            return row.get(name)
        for part in name.split("."):
            row = getattr(row, part, None)
        return row


def _values(names: tuple[str, ...], items: bool) -> Callable[[Any], tuple[Any, ...]]:
    get = itemgetter if items else attrgetter
    if len(names) > 1:
        return get(*names)
    if not names:
        return lambda row: ()
    one = get(*names)
    return lambda row: (one(row),)


def _said(value: Any) -> str:
    """Return a category's value as text: equal numbers have the same one."""
    if isinstance(value, Number) and not isinstance(value, int):
        value = _float(value)
        if not value.is_integer():
            return repr(value)
        value = int(value)
    if isinstance(value, int):
        return str(int(value)) if abs(value) < 2**63 else hex(value)
    return str(value)


def _float(value: Any) -> float:
    """Return a value as a number; NaN where it is none."""
    try:
        return float(value)
    except (OverflowError, TypeError, ValueError):
        return math.nan


def _hashable(value: Any) -> Any:
    try:
        hash(value)
    except TypeError:
        return repr(value)
    return value
