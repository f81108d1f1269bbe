"""`shadowstream join` on an embedded broker that keeps its log: killed as a whole, over and over, and started again."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.cases.join import NOW, PATIENCE_S, Join

EACH = 200
TOML = """[kafka]
embedded = "durable"
"""


def kill_all(join: Join) -> None:
    """Kill the run and all that it started, in the order that the system lists them, as a crash of them all would."""
    one = psutil.Process(join.process.pid)
    family = [*one.children(recursive=True), one]
    for process in family:
        process.kill()
    join.process.wait(PATIENCE_S)
    psutil.wait_procs(family, timeout=PATIENCE_S)


@pytest.fixture
def join(tmp_path: Path) -> Iterator[Join]:
    """A join that ends with the test."""
    with Join(tmp_path, "kept", TOML) as join:
        yield join


@pytest.mark.long
@pytest.mark.skipif(sys.platform != "linux", reason="the wheel of the object store is for Linux")
def test_after_kill_9_of_everything_nothing_is_lost_and_nothing_doubled(join: Join) -> None:
    for ids in (range(EACH), range(EACH, 2 * EACH), range(2 * EACH, 3 * EACH)):
        join.publish(*(("predictions", {"id": f"i{n}", "at": NOW + n}) for n in ids))
        join.publish(*(("outcomes", {"id": f"i{n}", "at": NOW + n, "y": n % 2}) for n in ids))
        kill_all(join)
        join.start()
    counts = join.settled(6 * EACH)
    assert {key: counts[key] for key in ("predictions", "outcomes", "joined")} == dict.fromkeys(
        ("predictions", "outcomes", "joined"), 3 * EACH
    )
    assert len(join.samples()) == 3 * EACH
    command = [sys.executable, "-m", "deploy.cli.main", "audit", "feed.py"]
    subprocess.run(command, cwd=join.folder, env=join.environment, check=True, capture_output=True)
