"""When live experts hear how many predictions there were."""

from deploy.learning.opened import Opened
from streams.join.step import PartitionState, ShardState


def shard(seq: int, opened: int, *times_ms: int) -> ShardState:
    partitions = {f"p:{n}": PartitionState(t_ms, 0, -1, 0, 0) for n, t_ms in enumerate(times_ms)}
    counters = {"opened": opened}
    return ShardState(seq, "", min(times_ms), max(times_ms), "", 0, False, 0, 0, 0, counters, partitions)


def test_nothing_is_told_before_anything_was_opened() -> None:
    assert Opened.of([shard(0, 0, -1, -1)]) is None
    assert Opened.of([shard(0, 0, 5, 5)]) is None


def test_the_count_holds_for_the_newest_time_once_the_watermark_is_there_and_all_up_to_it_was_learned() -> None:
    """Of predictions opened by now some are newer than the watermark: told of its time, they would be too many."""
    found = Opened.of([shard(3, 9, 100, 40), shard(2, 8, 90, 100)])
    assert found == Opened(100, 17)
    assert not found.reached({0: "99-0", 1: "99-0"})
    assert found.looked([shard(7, 20, 120, 99), shard(9, 21, 120, 120)]) is found
    passed = found.looked([shard(8, 30, 120, 100), shard(9, 31, 120, 101)])
    assert passed == Opened(100, 17, (8, 9))
    assert passed.looked([shard(50, 60, 200, 200)] * 2) is passed
    assert not passed.reached({0: "8-0", 1: "8-0"})
    assert passed.reached({0: "8-0", 1: "9-0"})
