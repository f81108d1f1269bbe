"""The audit's equations: each is broken by its own counter; those of partitions need all shards at the same offset."""

import pytest
from msgspec.structs import replace

from streams.audit.equations import EQUATIONS, audit, equations
from streams.join.step import COUNTERS, PartitionState, ShardState

PARTS = {"conflict", "too_late_silent"}  # of other counters
GOOD = dict.fromkeys(COUNTERS, 0) | {
    "predictions": 12, "prediction_duplicate": 1, "prediction_too_late": 1, "opened": 10, "joined": 5, "negative": 2,
    "unlabelled": 1, "waiting": 2, "outcomes": 14, "used": 6, "early": 1, "outcome_duplicate": 2, "late": 1,
    "orphan": 1, "capped": 1, "outcome_too_late": 2, "corrected": 1,
}  # fmt: skip


def shard(next_: int = 30, *, records: int = 26, lost: int = 0, **counters: int) -> ShardState:
    at = PartitionState(0, next_, -1, 0, 0, records, 2, 1, lost)
    return ShardState(8, "0", 0, 0, "8-0", 0, False, 2, 0, 0, GOOD | counters, {"p:0": at})


def test_what_balances_holds() -> None:
    equations = audit([shard(records=27)])
    assert equations.holds
    assert not equations.moving
    assert [one.left for one in equations.total] == [12, 10, 14, 8]


@pytest.mark.parametrize("counter", sorted({*COUNTERS, "seq"} - PARTS))
def test_every_counter_is_in_an_equation(counter: str) -> None:
    off = {**GOOD, "seq": 8}
    off[counter] += 1
    broken = [one for one in equations(off) if not one.holds]
    assert broken
    assert all(abs(one.difference) == 1 for one in broken)


def test_one_shard_that_is_off_is_not_made_up_for_by_another() -> None:
    equations = audit([shard(records=27, waiting=3), shard(records=0, waiting=1)])
    assert all(one.holds for one in equations.total)
    assert not equations.holds
    assert [[one.difference for one in lines] for lines in equations.shards] == [[0, -1, 0, 0], [0, 1, 0, 0]]


def test_a_partition_counts_all_shards_at_one_position() -> None:
    both = [shard(30, records=14), replace(shard(30), partitions={"p:0": PartitionState(0, 30, -1, 0, 0, 13)})]
    equations = audit(both)
    assert (equations.holds, equations.partitions[0].records, equations.partitions[0].equation is not None) == (
        True,
        27,
        True,
    )
    assert not audit([both[0], replace(both[1], partitions={"p:0": PartitionState(0, 30, -1, 0, 0, 12)})]).holds


def test_shards_at_different_positions_are_moving_and_nothing_is_claimed() -> None:
    equations = audit([shard(30), shard(29)])
    assert equations.moving == ["p:0"]
    assert equations.partitions[0].equation is None
    assert equations.partitions[0].next == 29


def test_every_left_side_is_there_once() -> None:
    assert len({left for left, _ in EQUATIONS}) == len(EQUATIONS)


def test_an_equation_says_the_number_of_each_term() -> None:
    predictions, *_, samples = equations(GOOD | {"seq": 9})
    assert predictions.numbers == "predictions 12 = opened 10 + prediction_duplicate 1 + prediction_too_late 1"
    assert predictions.terms == {"opened": 10, "prediction_duplicate": 1, "prediction_too_late": 1}
    assert samples.numbers == "seq 9 ≠ joined 5 + negative 2 + corrected 1 + restored 0 + marked 0"
