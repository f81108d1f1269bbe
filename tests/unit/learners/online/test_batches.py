"""The newest rows are kept in whole batches, and no more of them than are needed."""

from learners.online.batches import Newest


def test_the_newest_rows_are_kept_and_the_oldest_batches_dropped_once_the_others_hold_enough() -> None:
    newest: Newest[int] = Newest(5)
    kept = []
    for rows in ([0, 1], [2, 3, 4], [5, 6], [7], [8, 9, 10, 11, 12, 13]):
        newest.add(rows)
        kept.append(list(newest))
        assert len(newest) == len(kept[-1])
    assert kept == [[0, 1], [0, 1, 2, 3, 4], [2, 3, 4, 5, 6], [2, 3, 4, 5, 6, 7], [8, 9, 10, 11, 12, 13]]
