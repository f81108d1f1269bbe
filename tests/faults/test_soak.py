"""A short soak: the reader stands still until the joiners wait, then all must come. `make soak` judges memory."""

from pathlib import Path

import pytest

from tests.conftest import command
from tests.faults.soak import Soak, right, soak


@pytest.mark.parametrize("kind", ["embedded", "external"])
def test_all_comes_after_the_reader_stood_still(kind: str, tmp_path: Path) -> None:
    kafka, redis = command("SHADOWSTREAM_TEST_KAFKA_CMD", kind), command("SHADOWSTREAM_TEST_REDIS_CMD", kind)
    with Soak(tmp_path, rate=1_500, bound=1_000, kafka=kafka, redis=redis) as world:
        figures = soak(world, 20, every_s=0.5)
    assert right(figures), figures
    assert figures["bound_reached_s"] is not None
    assert figures["unread_at_the_end_of_standing"] < figures["samples"] / 2
    assert figures["samples"] > 10_000
