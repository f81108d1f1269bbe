"""When the silence of a partition is idleness."""

import math

from deploy.processes.roles import quiet
from streams.kafka import Tp

ONE = [Tp("predictions", 0), Tp("outcomes", 0)]


def nothing_owed(tp: Tp) -> float:
    return math.inf


def test_in_a_replay_the_next_slice_is_owed_however_long_the_machine_takes() -> None:
    assert quiet(ONE, nothing_owed, replays=True)(ONE[1]) is None
    assert quiet(ONE, nothing_owed, replays=False)(ONE[1]) == math.inf


def test_one_of_several_partitions_may_be_idle_in_a_replay_too() -> None:
    assert quiet([*ONE, Tp("outcomes", 1)], nothing_owed, replays=True)(ONE[1]) == math.inf
