"""The whole loop, a few faults once, seeded; the long run is `make chaos LOOP=1`, which also judges the gaps."""

from pathlib import Path

import pytest

from tests.faults.loop.chaos_loop import chaos
from tests.faults.loop.loop_breaks import Fault
from tests.faults.loop.loop_world import LoopWorld
from tests.faults.loop.of_processes import gcs_killed, raylet_killed, server_stopped, two_killed
from tests.faults.loop.of_services import store_killed


@pytest.mark.parametrize("faults", [(server_stopped, store_killed, raylet_killed), (two_killed, gcs_killed)])
def test_serving_outlives_what_it_does_not_need(faults: tuple[Fault, ...], tmp_path: Path) -> None:
    with LoopWorld(tmp_path, 1, rate=60.0) as world:
        gaps, counts = chaos(world, 0, faults)
    assert set(gaps) == set(faults)
    assert counts["samples"] > 0
