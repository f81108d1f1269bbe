"""`shadowstream run --detach`: command and supervisor end, roles go on; `stop` and `logs` find them from elsewhere."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from deploy import config
from deploy.monitor import View
from deploy.operate.join.audit import inspect
from deploy.registry import runs
from deploy.registry.storage.home import home
from streams.kafka import ensure_topics
from tests.cases.join import until
from tests.conftest import Running
from tests.e2e.test_run_partitions import KINDS, publish
from tests.e2e.test_two_nodes import seen
from tests.nodes import nodes

PIPELINE = """
from dataclasses import replace
from tests import small

pipeline = replace(small.pipeline, name="left")
"""
SETTINGS = """
[kafka]
bootstrap = "{broker}"
[redis]
url = "{store}"
[registry]
path = "{registry}"
[ray]
address = "{ray}"
"""


def pids(view: View) -> dict[str, int]:
    return {one.role: one.pid for one in view.pulse.roles} if view.pulse else {"": 0}


@pytest.mark.parametrize("broker", ["embedded"], indirect=True)
@pytest.mark.parametrize("store_server", ["embedded"], indirect=True)
@pytest.mark.long
def test_roles_outlive_the_command_and_the_supervisor_which_finds_them_again(
    broker: Running, store_server: Running, tmp_path: Path
) -> None:
    topics = {kind: f"left.{kind}" for kind in KINDS}
    counts = dict.fromkeys(KINDS, 1)
    ensure_topics(broker.address, dict.fromkeys(topics.values(), 1))
    (tmp_path / "pipeline.py").write_text(PIPELINE)
    with nodes(tmp_path) as cluster:
        cluster.start("head")
        toml = tmp_path / "shadowstream.toml"
        toml.write_text(
            SETTINGS.format(
                broker=broker.address, store=store_server.address, registry=tmp_path / "kept", ray=cluster.address
            )
        )
        settings = config.load(toml, {})

        def command(*words: str) -> str:
            line = [sys.executable, "-m", "shadowstream", words[0], "pipeline.py", *words[1:]]
            done = subprocess.run(
                line, cwd=tmp_path, env=cluster.environment, text=True, capture_output=True, check=False
            )
            assert done.returncode == 0, done.stdout + done.stderr
            return done.stdout

        def learned(count: int) -> View:
            found: list[View] = []

            def enough() -> bool:
                found[:] = [view] if (view := seen(tmp_path, settings)) else []
                return (
                    bool(found) and found[0].learned >= count and found[0].pulse_s < 3 and all(pids(found[0]).values())
                )

            until(enough, lambda: str(found))
            return found[0]

        assert "there is no detached run" in command("stop")
        assert "the run goes on without this command" in command("run", "--detach")
        assert "the run goes on already" in command("run", "--detach")
        publish(broker.address, topics, counts, range(200))
        before = pids(learned(200))
        objects = home(settings.registry.path, "left").objects
        newest = runs.newest(objects)
        supervisor = runs.read(objects, newest)
        assert supervisor is not None
        os.kill(supervisor.process, signal.SIGKILL)
        publish(broker.address, topics, counts, range(200, 400))
        until(lambda: runs.newest(objects) > newest)
        assert pids(learned(400)) == before, "the roles' processes are those of before"
        assert "v0 serves, as before" in command("logs", "supervisor")
        command("logs", "server")
        assert "the run has ended" in command("stop")
        assert not [pid for pid in before.values() if psutil.pid_exists(pid)]
    inspect(tmp_path / "pipeline.py", settings, compare=True).check()
