"""The newest rows are kept in whole batches, and no more of them than are needed; many rows are decoded as each is."""

from typing import Any

import pytest

from learners.online.batches import Newest
from streams.errors import MalformedEvent
from streams.readers import Json, Migrated
from tests import small


def test_the_newest_rows_are_kept_and_the_oldest_batches_dropped_once_the_others_hold_enough() -> None:
    newest: Newest[int] = Newest(5)
    kept = []
    for rows in ([0, 1], [2, 3, 4], [5, 6], [7], [8, 9, 10, 11, 12, 13]):
        newest.add(rows)
        kept.append(list(newest))
        assert len(newest) == len(kept[-1])
    assert kept == [[0, 1], [0, 1, 2, 3, 4], [2, 3, 4, 5, 6], [2, 3, 4, 5, 6, 7], [8, 9, 10, 11, 12, 13]]


@pytest.mark.parametrize("read", [Json(small.Point), Migrated(small.Point, lambda row: row)])
def test_many_rows_are_decoded_as_each_is_and_the_first_wrong_one_says_why(read: Json[Any] | Migrated[Any]) -> None:
    rows = [b'{"x": [%d, 0, 0, 0]}' % n for n in range(5)]
    assert read.each(rows) == [read(row) for row in rows]
    assert read.each([]) == []
    for wrong in (b'{"x": 1}', b'{"x"', b"[" * 100_000):
        with pytest.raises(MalformedEvent) as one:
            read(wrong)
        with pytest.raises(MalformedEvent) as many:
            read.each([*rows, wrong, b"later"])
        assert str(many.value) == str(one.value)
