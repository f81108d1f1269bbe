"""The newest rows are kept in whole batches, and no more of them than are needed."""

import torch

from learners.online.batches import Newest, join


def test_the_newest_rows_are_kept_and_the_oldest_batches_dropped_once_the_others_hold_enough() -> None:
    newest: Newest[list[int]] = Newest(5)
    kept = []
    for rows in ([0, 1], [2, 3, 4], [5, 6], [7], [8, 9, 10, 11, 12, 13]):
        newest.add((torch.tensor(rows),), rows)
        assert join(newest.inputs)[0].tolist() == [row for batch in newest.rows for row in batch]
        kept.append(list(newest.rows))
    assert kept == [
        [[0, 1]],
        [[0, 1], [2, 3, 4]],
        [[2, 3, 4], [5, 6]],
        [[2, 3, 4], [5, 6], [7]],
        [[8, 9, 10, 11, 12, 13]],
    ]
