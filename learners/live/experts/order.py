"""The wide part of a ranking: a table over each item with what the request has, learned from pairs of items.

Owns which scores of a request are whose. Does not know how a table learns.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from learners.live.compiled import Doubles
from learners.live.experts.around import Around
from learners.live.experts.wide import Linear
from learners.live.features.items import Items


class Order(Around[Linear]):
    """An expert that says K scores of a row, 0 where it has fewer items."""

    def __init__(self, expert: Linear, items: Items, most: int) -> None:
        super().__init__(expert)
        self._items, self._most = items, most

    def answer(self, rows: Sequence[Any]) -> Doubles:
        """Return scores (N, K)."""
        found, of = np.zeros((len(rows), self._most)), [self._items.of(row, self._most) for row in rows]
        scores, start = self._expert.answer([item for items in of for item in items])[:, 0], 0
        for n, items in enumerate(of):
            found[n, : len(items)] = scores[start : start + len(items)]
            start += len(items)
        return found

    def learn(self, rows: Sequence[Any], labels: Doubles, weights: Doubles) -> None:
        """Learn relevances (N, K), request by request."""
        for row, label, weight in zip(rows, labels, weights, strict=True):
            items = self._items.of(row, self._most)
            self._expert.learn(items, label[: len(items)], np.full(len(items), weight))

    def renew(self, rows: Sequence[Any], labels: Doubles, weights: Doubles) -> None:
        """Begin anew in a changed world, of which these outcomes are known."""
        self._expert.renew((), np.empty(0), np.empty(0))
        self.learn(rows, labels, weights)
