"""Rows of a pipeline's features as slots of tables.

Owns the numbers' running spread, which is state, and the tokens that a number can be. Does not know tables.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from learners.live.compiled import Bools, Doubles, Floats
from learners.live.features.fields import Fields
from learners.live.features.hashing import SMALL, Hashed, Names, hash_rows, sums
from learners.live.features.reader import Reader, crc32
from learners.live.features.spread import KNOTS, LEARNED, Spread
from learners.live.tables.arrays import Arrays

ANSWERS = ("seen", "mean", "variance", "knots")  # of a spread; its first values only make the knots
CHUNK = 64  # rows that are hashed together: so their features stay in the processor's cache


class Features:
    """Features of rows as slots of tables of 2^`bits` slots, with at most `crosses` crosses a row."""

    def __init__(self, reader: Reader, crosses: int, bits: int) -> None:
        self._reader, self._crosses, self._bits = reader, crosses, bits
        fields = reader.fields
        self._names = _names(fields)
        m = len(fields.numbers)
        zeros = [np.zeros(shape, np.float64) for shape in (m, m, (m, LEARNED), (m, KNOTS))]
        self._spread = Spread(np.zeros(m, np.int64), *zeros)
        self._out = Hashed(np.empty(0, np.uint32), np.empty(0, np.float32), np.empty((CHUNK, 3), np.int64))

    def hashed(self, rows: Sequence[Any], learns: Bools | None = None) -> Iterator[tuple[slice, Hashed]]:
        """Yield the features of some rows after another, each until the next is asked for.

        `learns` (N,): the rows whose numbers the spread follows.
        """
        read, learns = self._reader.read(rows), learns if learns is not None else np.zeros(len(rows), np.bool_)
        for start in range(0, max(len(rows), 1), CHUNK):  # a part of no rows, too: it compiles what answers
            part = slice(start, min(start + CHUNK, len(rows)))
            words = int(read.ends[part.stop - 1]) if len(rows) else 0
            most = CHUNK * (read.tokens.shape[1] + 4 * read.numbers.shape[1] + self._crosses) + words
            if len(self._out.slots) < most:
                self._out = self._out._replace(slots=np.empty(most, np.uint32), values=np.empty(most, np.float32))
            out = self._out._replace(ends=self._out.ends[: part.stop - start])
            hash_rows(read, self._names, self._spread, start, self._crosses, self._bits, learns, out)
            yield part, out

    def sums(self, rows: Sequence[Any], weights: Floats) -> Doubles:
        """Return Σ w_i x_i of each row and head, (N, heads); `weights` (slots, heads)."""
        return sums(self._reader.read(rows), self._names, self._spread, self._crosses, self._bits, weights)

    def arrays(self) -> Arrays:
        """Return the numbers' spread."""
        return self._spread._asdict()

    def changes(self) -> dict[str, Tensor]:
        """Return what answering needs of the numbers' spread."""
        return {name: torch.from_numpy(getattr(self._spread, name).copy()) for name in ANSWERS}

    def follow(self, changes: Mapping[str, Tensor]) -> None:
        """Have the numbers' spread that `changes` returned elsewhere."""
        for name in ANSWERS:
            getattr(self._spread, name)[...] = changes[name].numpy()


def _names(fields: Fields) -> Names:
    numbers, whole = fields.numbers, range(1 - SMALL, SMALL)
    small = [[crc32(f"{name}={i}") if name in fields.counts else 0 for i in whole] for name in numbers]
    return Names(
        np.array([crc32(name) for name in numbers], np.uint32),
        np.array([crc32(f"{name}*") for name in numbers], np.uint32),
        np.array(small, np.uint32).reshape(-1, 2 * SMALL - 1),
        np.array([[crc32(f"{name}^{k}") for k in range(KNOTS)] for name in numbers], np.uint32).reshape(-1, KNOTS),
        np.array([[crc32(f"{name}|{k}") for k in range(KNOTS + 1)] for name in numbers], np.uint32).reshape(
            -1, KNOTS + 1
        ),
    )
