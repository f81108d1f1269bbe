"""`shadowstream join` as a user runs it: embedded or external services, workers killed, end of the feed, Ctrl-C."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psutil
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from streams.join.store import Store
from streams.kafka import Sink, Tp
from tests.conftest import Running

COMMAND = [sys.executable, "-m", "deploy.cli.main", "join"]
T = 1_700_000_000_000
PATIENCE_S = 300.0  # against a hang alone
FEED = """
from deploy.feed import Feed
from streams.events import Event

def prediction(record):
    return Event(record.key.decode(), record.t_ms, record.value)

def outcome(record):
    return Event(record.key.decode(), record.t_ms, record.value)

feed = Feed(name="{name}", prediction=prediction, outcome=outcome)
"""
TOML = """
[topics]
partitions = 2
[join]
shards = 2
joiners = 2
window_s = 60
keep_s = 60
absent = "negative"
[output]
to = "{to}"
{files}
"""


class Command:
    """A running `join` of one feed in a folder of its own."""

    def __init__(self, folder: Path, name: str, to: str, **environment: str) -> None:
        self.folder, self.name, self.to = folder, name, to
        (folder / "feed.py").write_text(FEED.format(name=name))
        (folder / "shadowstream.toml").write_text(
            TOML.format(to=to, files="rows_per_file = 500" if to == "parquet" else "")
        )
        with (folder / "out").open("wb") as out, (folder / "err").open("wb") as err:
            self.process = subprocess.Popen(
                [*COMMAND, "feed.py", "--json"], cwd=folder, stdout=out, stderr=err, env=os.environ | environment
            )
        self.wait(lambda: "joining" in self.said())

    def said(self) -> str:
        return (self.folder / "err").read_text()

    def wait(self, until: Any) -> None:
        deadline = time.monotonic() + PATIENCE_S
        while not until():
            assert self.process.poll() is None, self.said()
            assert time.monotonic() < deadline, self.said()
            time.sleep(0.02)

    def address(self, service: str) -> str:
        addresses = json.loads((self.folder / ".shadowstream" / self.name / "embedded.json").read_text())
        return str(addresses[service])

    def family(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)

    def workers(self) -> list[psutil.Process]:
        return [process for process in self.family() if "deploy.processes.worker" in process.cmdline()]

    def files(self) -> list[Path]:
        return sorted(self.folder.glob("samples/shard=*/*.parquet"))

    def publish(self, bootstrap: str, numbers: range, label: bytes = b"1") -> None:
        with closing(Sink(bootstrap)) as sink:
            for n in numbers:
                key, partition, t_ms = b"id%d" % n, n % 2, T + n * 20
                sink.send(Tp(f"{self.name}.predictions", partition), key=key, value=b'{"n":%d}' % n, t_ms=t_ms)
                if n % 3 == 0:
                    sink.send(Tp(f"{self.name}.outcomes", partition), key=key, value=label, t_ms=t_ms + 5)
            sink.flush()

    def result(self) -> tuple[int, list[str]]:
        family = self.family()
        code = self.process.wait(PATIENCE_S)
        _, alive = psutil.wait_procs(family, timeout=PATIENCE_S)
        assert not alive
        return code, (self.folder / "out").read_text().splitlines()


@pytest.fixture
def started() -> Iterator[list[Command]]:
    """Whatever a test starts; it is stopped when the test ends."""
    commands: list[Command] = []
    yield commands
    for command in commands:
        command.process.kill()
        command.process.wait()


def test_a_feed_on_embedded_services_into_files_though_every_worker_is_killed(
    started: list[Command], tmp_path: Path
) -> None:
    command = Command(tmp_path, "clicks", "parquet")
    started.append(command)
    broker = command.address("bootstrap")
    command.publish(broker, range(9_000))
    command.wait(lambda: bool(command.files()))
    for worker in command.workers():
        worker.kill()
    command.publish(broker, range(9_000, 12_000))
    with closing(Store(command.address("store"))) as store:
        for shard in (0, 1):
            store.close_feed(command.name, shard)
    code, lines = command.result()
    assert code == 0, command.said()
    assert command.said().count("signal 9 ended") == 3
    summary = json.loads(lines[-1])
    assert [summary[key] for key in ("events", "samples", "joined", "negative", "waiting", "unread")] == [
        16_000, 12_000, 4_000, 8_000, 0, 0,
    ]  # fmt: skip
    rows = [row for path in command.files() for row in pq.read_table(path).to_pylist()]
    assert len(rows) == 12_000
    assert {row["id"]: row["label"] for row in rows} == {f"id{n}": float(n % 3 == 0) for n in range(12_000)}


def test_ctrl_c_and_then_another_run_on_a_broker_and_store_that_last(
    started: list[Command], broker: Running, embedded_store_url: str, tmp_path: Path
) -> None:
    name = f"ctrlc-{broker.kind}"
    variables = {"SHADOWSTREAM_KAFKA_BOOTSTRAP": broker.address, "SHADOWSTREAM_REDIS_URL": embedded_store_url}
    command = Command(tmp_path, name, "topic", **variables)
    started.append(command)
    command.publish(broker.address, range(6_000))
    with closing(Store(embedded_store_url)) as store:
        command.wait(lambda: sum(store.shard(name, shard).seq for shard in (0, 1)) > 0)
        family = command.family()
        command.process.send_signal(signal.SIGINT)
        assert command.process.wait(PATIENCE_S) == 130, command.said()
        _, alive = psutil.wait_procs(family, timeout=PATIENCE_S)
        assert not alive
        command = Command(tmp_path, name, "topic", **variables)
        started.append(command)
        for shard in (0, 1):
            store.close_feed(name, shard)
        code, lines = command.result()
    assert code == 0, command.said()
    summary = json.loads(lines[-1])
    assert (summary["samples"], summary["joined"], summary["unread"]) == (6_000, 2_000, 0)


def test_an_error_that_no_retry_helps_ends_all_with_its_code(started: list[Command], tmp_path: Path) -> None:
    command = Command(tmp_path, "texts", "parquet")
    started.append(command)
    for shard in (0, 1):
        folder = tmp_path / "samples" / f"shard={shard}"
        pq.write_table(pa.table({"x": [1]}), folder / f"{1:016}.parquet")  # of another
    command.publish(command.address("bootstrap"), range(9_000))
    code, _ = command.result()
    assert code in (1, 2)
    said = command.said()
    assert "another writer writes to" in said or "another program wrote" in said
