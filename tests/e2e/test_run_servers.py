"""`shadowstream run` with two servers on four partitions, one of which is killed and one frozen."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from deploy import config
from deploy.monitor import View
from deploy.operate.join.audit import inspect
from deploy.run.running import running
from deploy.run.session import Session
from streams.kafka import ensure_topics
from tests.conftest import Running
from tests.e2e.test_run_partitions import KINDS, PIPELINE, WAIT_S, publish

COUNTS = dict.fromkeys(KINDS, 4)
ALL = (0, 1, 2, 3)


@pytest.mark.parametrize("broker", ["embedded"], indirect=True)
@pytest.mark.parametrize("store_server", ["embedded"], indirect=True)
@pytest.mark.long
def test_what_a_server_leaves_goes_to_the_other_and_back(
    broker: Running, store_server: Running, tmp_path: Path
) -> None:
    topics = {kind: f"shared.{kind}" for kind in KINDS}
    ensure_topics(broker.address, dict.fromkeys(topics.values(), 4))
    (tmp_path / "pipeline.py").write_text(PIPELINE.format(name="shared"))
    settings = config.Settings(
        kafka=config.Kafka(bootstrap=broker.address),
        redis=config.Redis(url=store_server.address),
        registry=config.Registry(path=str(tmp_path)),
        serve=config.Serve(servers=2),
    )
    with running(tmp_path / "pipeline.py", settings, print, fresh=False) as session:
        publish(broker.address, topics, COUNTS, range(200))
        until(session, even)
        until(session, lambda view: view.learned >= 200)
        os.kill(pid(session, "server-1"), signal.SIGKILL)
        publish(broker.address, topics, COUNTS, range(200, 400))
        until(session, lambda view: view.learned >= 400)
        until(session, lambda view: even(view) and starts(view, "server-1") == 1)
        os.kill(pid(session, "server-0"), signal.SIGSTOP)
        publish(broker.address, topics, COUNTS, range(400, 600))
        until(session, lambda view: view.learned >= 600)
        until(session, lambda view: even(view) and starts(view, "server-0") == 1)
        equations = session.balance().equations
    assert all(equation.holds for equation in equations)
    report = inspect(tmp_path / "pipeline.py", settings, compare=True)
    report.check()
    assert report.audit.conflicts == 0


def shares(view: View) -> dict[str, tuple[int, ...]]:
    return {name: note.partitions for name, note in view.servers.items()}


def even(view: View) -> bool:
    """Return whether each has two partitions, and no two the same."""
    parts = list(shares(view).values())
    return (
        len(parts) == 2
        and sorted(n for part in parts for n in part) == [*ALL]
        and all(len(part) == 2 for part in parts)
    )


def starts(view: View, role: str) -> int:
    assert view.pulse is not None
    return next(one.starts for one in view.pulse.roles if one.role == role)


def pid(session: Session, role: str) -> int:
    view = session.look()
    assert view.pulse is not None
    return next(one.pid for one in view.pulse.roles if one.role == role)


def until(session: Session, holds: Callable[[View], bool]) -> None:
    deadline = time.monotonic() + WAIT_S
    for view in session.live():
        if holds(view):
            return
        assert time.monotonic() < deadline, (view.servers, view.trouble, view.learned)
