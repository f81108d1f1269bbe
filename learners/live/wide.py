"""The wide part: tables over all fields of a pipeline's features, which learn each outcome at once."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from torch import Tensor

from compressors.arguments import named
from learners.live.adaptive import Adaptive
from learners.live.arrays import Arrays, joined, restore, state_of, usable
from learners.live.chain import Chain
from learners.live.compiled import Doubles
from learners.live.features import Features
from learners.live.fields import fields_of
from learners.live.gaussian import Gaussian
from learners.live.reader import Reader
from streams.errors import ConfigError

Table = Adaptive | Gaussian
TABLES: dict[str, type[Adaptive] | type[Gaussian]] = {"nag": Adaptive, "w4": Gaussian}


@named(ConfigError)
@dataclass(frozen=True, kw_only=True)
class Wide:
    """What the tables read, and how large they are.

    `categories`, `numbers`, `text`: the fields to read as each of these; None: all that are so by their types (`str`,
        `bool`, Enum and Literal are categories; `float` and `int` numbers, small `int` categories too; a `str` of five
        words or more is a text). A field may be a number and a category. Fields in a struct are `name.field`.
    `crosses`: at most so many pairs of a row's categories and intervals of numbers.
    `bits`: a table has 2^bits slots.
    """

    categories: Collection[str] | None = None
    numbers: Collection[str] | None = None
    text: Collection[str] | None = None
    crosses: int = 512
    bits: int = 18

    def __post_init__(self) -> None:
        if not 8 <= self.bits <= 26 or not 0 <= self.crosses <= 65_536:
            raise ConfigError(f"Wide: bits must be 8 to 26 and crosses 0 to 65,536, got {self.bits} and {self.crosses}")

    def reader(self, kind: type) -> Reader:
        """Return what reads rows of a features type."""
        return Reader(fields_of(kind, self.categories, self.numbers, self.text))

    def linear(self, reader: Reader, tables: Sequence[str] = ("nag", "w4")) -> "Linear":
        """Return an expert of tables over all that is read, one column each."""
        made = {name: TABLES[name](self.bits) for name in tables}
        return Linear(Features(reader, self.crosses, self.bits), made)

    def chain(self, reader: Reader, marks: int) -> Chain:
        """Return a hazard chain of so many marks over all that is read."""
        return Chain(Features(reader, self.crosses, self.bits), self.bits, marks)


class Linear:
    """Tables over one set of features; a column of answers for each."""

    def __init__(self, features: Features, tables: Mapping[str, Table]) -> None:
        self.names, self._features, self._tables = tuple(tables), features, tables

    def answer(self, rows: Sequence[Any]) -> Doubles:
        """Return the logits (N, tables) of rows."""
        found = np.empty((len(rows), len(self._tables)))
        for part, hashed in self._features.hashed(rows):
            for k, table in enumerate(self._tables.values()):
                found[part, k] = table.answer(hashed)
        return found

    def learn(self, rows: Sequence[Any], labels: Doubles, weights: Doubles) -> None:
        """Learn rows in their order; a label or weight that is not finite, or no weight, moves no table."""
        use = usable(weights, labels)
        for part, hashed in self._features.hashed(rows, use > 0):
            for table in self._tables.values():
                table.learn(hashed, labels[part], use[part])

    def state(self) -> dict[str, Tensor]:
        """Return all that was learned."""
        return state_of(self._arrays())

    def load(self, state: Mapping[str, Tensor]) -> None:
        """Go on from `state`."""
        restore(self._arrays(), state)

    def _arrays(self) -> Arrays:
        tables = {name: table.arrays() for name, table in self._tables.items()}
        return joined({"features": self._features.arrays()} | tables)
