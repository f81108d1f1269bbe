"""Each fault once, seeded: embedded services, external ones, clusters; the long run is `make chaos`."""

from pathlib import Path
from random import Random

import pytest

from tests.conftest import command
from tests.faults.breaks import NODES, ONCE, flushed, possible, store_killed, store_went_back
from tests.faults.chaos import chaos
from tests.faults.parts.publish import CODECS
from tests.faults.parts.verdict import verdict
from tests.faults.world import World


@pytest.mark.parametrize(("seed", "kind"), [(1, "embedded"), (2, "external")])
def test_every_fault_is_survived(seed: int, kind: str, tmp_path: Path) -> None:
    kafka, redis = command("SHADOWSTREAM_TEST_KAFKA_CMD", kind), command("SHADOWSTREAM_TEST_REDIS_CMD", kind)
    with World(tmp_path, seed, kafka=bool(kafka), redis="redis" if redis else "valkey") as world:
        faults = possible(world)
        Random(seed).shuffle(faults)
        faults = ONCE + faults  # all is read again after it, which would hide what others had broken
        assert chaos(world, 0, faults).total() == len(faults)
        assert verdict(world)["predictions"] > 1_000
        assert world.publisher.used == set(CODECS)
        assert world.publisher.aborted > 0 or not kafka


def test_a_cluster_that_moves_and_goes_back(tmp_path: Path) -> None:
    with World(tmp_path, 3, cluster=True) as world:
        chaos(world, 0, [*NODES, store_went_back, store_killed, *NODES, flushed])
        assert verdict(world)["predictions"] > 1_000
