"""Each fault once, seeded, on the embedded services and on external ones; the long run is `make chaos`."""

from pathlib import Path
from random import Random

import pytest

from tests.conftest import command
from tests.faults.chaos import ALWAYS, broker_killed, chaos
from tests.faults.world import World


@pytest.mark.parametrize(("seed", "kind"), [(1, "embedded"), (2, "external")])
def test_every_fault_is_survived(seed: int, kind: str, tmp_path: Path) -> None:
    kafka, redis = command("SHADOWSTREAM_TEST_KAFKA_CMD", kind), command("SHADOWSTREAM_TEST_REDIS_CMD", kind)
    with World(tmp_path, seed, kafka, redis) as world:
        faults = ALWAYS + ([broker_killed] if kafka else [])
        Random(seed).shuffle(faults)
        assert chaos(world, 0, faults).total() == len(faults)
        assert world.verdict()["predictions"] > 1_000
