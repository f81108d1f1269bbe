"""`shadowstream run` on a Ray cluster of two nodes, of which the one that has server and learner is killed."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from deploy import config
from deploy.monitor import View
from deploy.operate.join.audit import inspect
from deploy.operate.status import status
from streams.errors import ShadowstreamError
from streams.kafka import ensure_topics
from tests.cases.join import until
from tests.conftest import Running
from tests.e2e.test_run_partitions import KINDS, publish
from tests.nodes import nodes

PIPELINE = """
from beside import named

pipeline = named("far")
"""
BESIDE = """
from dataclasses import replace
from tests import small

def named(name):
    return replace(small.pipeline, name=name)
"""
SETTINGS = """
[kafka]
bootstrap = "{broker}"
[redis]
url = "{store}"
[registry]
path = "{registry}"
shared = true
[ray]
address = "{ray}"
[ray.roles.server]
labels = {{ zone = "b" }}
[ray.roles.learner]
cpus = 1
labels = {{ zone = "b" }}
"""


def run(folder: Path, environment: dict[str, str]) -> "subprocess.Popen[str]":
    words = [sys.executable, "-m", "shadowstream", "run", str(folder / "pipeline.py")]
    return subprocess.Popen(
        words, cwd=folder, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )


def seen(folder: Path, settings: config.Settings) -> View | None:
    try:
        view = status(folder / "pipeline.py", settings)
    except ShadowstreamError:  # it begins
        return None
    return view if isinstance(view, View) else None


@contextmanager
def running(folder: Path, environment: dict[str, str]) -> Iterator["subprocess.Popen[str]"]:
    process = run(folder, environment)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def refused(folder: Path, environment: dict[str, str]) -> str:
    with running(folder, environment) as process:
        said, _ = process.communicate()
        assert process.returncode == 2, said
        return " ".join(said.split())


def folders(view: View) -> set[str]:
    """Return where the processes of all roles work."""
    assert view.pulse is not None
    return {str(Path(psutil.Process(one.pid).cwd())) for one in view.pulse.roles}


@pytest.mark.parametrize("broker", ["embedded"], indirect=True)
@pytest.mark.parametrize("store_server", ["embedded"], indirect=True)
@pytest.mark.long
def test_what_a_node_had_begins_on_another_and_the_audit_balances(
    broker: Running, store_server: Running, tmp_path: Path
) -> None:
    topics = {kind: f"far.{kind}" for kind in KINDS}
    counts = dict.fromkeys(KINDS, 1)
    ensure_topics(broker.address, dict.fromkeys(topics.values(), 1))
    driver = tmp_path / "driver"
    driver.mkdir()
    (driver / "pipeline.py").write_text(PIPELINE)
    (driver / "beside.py").write_text(BESIDE)
    with nodes(tmp_path) as cluster:
        cluster.start("head")
        text = SETTINGS.format(
            broker=broker.address, store=store_server.address, registry=tmp_path / "kept", ray=cluster.address
        )
        toml = driver / "shadowstream.toml"
        toml.write_text(text)
        assert "asks for a token" in refused(driver, cluster.plain)
        assert "ray.roles.learner needs cpus = 1, labels zone = 'b', and no node has" in refused(
            driver, cluster.environment
        )
        cluster.start("far", labels="zone=b")
        settings = config.load(toml, {})
        with running(driver, cluster.environment) as process:

            def learned(count: int) -> View:
                found: list[View] = []

                def enough() -> bool:
                    assert process.poll() is None, process.stdout and process.stdout.read()
                    found[:] = [view] if (view := seen(driver, settings)) else []
                    return bool(found) and found[0].learned >= count

                until(enough, lambda: str(found))
                return found[0]

            publish(broker.address, topics, counts, range(200))
            places = folders(learned(200))
            assert not [path for path in places if path.startswith(str(tmp_path))]
            (driver / "beside.py").unlink()  # what a node needs of it, it has
            cluster.kill("far")
            publish(broker.address, topics, counts, range(200, 400))
            cluster.start("near", labels="zone=b")
            view = learned(400)
            assert view.pulse is not None
            starts = {one.role: one.starts for one in view.pulse.roles}
            assert starts["server"] >= 1
            assert starts["learner"] >= 1
            process.send_signal(signal.SIGINT)
            process.communicate()
    (driver / "beside.py").write_text(BESIDE)
    inspect(driver / "pipeline.py", settings, compare=True).check()
