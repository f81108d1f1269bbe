"""The whole loop as a user runs it, on some days of real flights: all is counted, also when every actor is killed."""

import json
import os
import subprocess
import sys
import time
from collections import Counter
from itertools import accumulate
from pathlib import Path
from typing import Any

import msgspec
import psutil
import pytest

from deploy.config import Registry as Folder
from deploy.config import Settings
from deploy.config import load as load_settings
from deploy.operate.versions.backtest import backtest
from deploy.operate.versions.versions import remake
from deploy.pipeline import load
from deploy.processes.roles import ROLES
from deploy.registry.kinds import CHAMPIONS, COMMITS
from deploy.registry.registry import Registry
from tests.conftest import Running

PIPELINE = Path(__file__).parent / "slice" / "pipeline.py"
EXPERTS = Path(__file__).parents[2] / "examples" / "expert" / "pipeline.py"
SPARSE = """
from deploy.pipeline import Pipeline
from tests.small import Point, encode, feed, net

def sparse():
    for event in feed(days=80, every_min=24 * 60):
        if event.topic == "requests" or int(event.key.removeprefix(b"id-")) % 2:
            yield event

pipeline = Pipeline(name="sparse", model=net, features=Point, encode=encode, feed=sparse)
"""
BRIEF = """
from dataclasses import replace
from shadowstream import Promotion
from tests import small

def feed():
    return small.feed(days=16)

pipeline = replace(small.pipeline, name="brief", feed=feed, promotion=Promotion(every_days=4, candidates_a_year=91))
"""
TIMEOUT_S = 1_500  # against a hang alone


@pytest.fixture(scope="module")
def published() -> Counter[str]:
    return counted(PIPELINE)


@pytest.fixture
def brief(tmp_path: Path) -> Path:
    """A pipeline of a small net and sixteen days of a request every ten minutes."""
    (path := tmp_path / "pipeline.py").write_text(BRIEF)
    return path


def counted(pipeline: Path) -> Counter[str]:
    feed = load(pipeline).feed
    assert feed is not None
    return Counter(event.topic for event in feed())


def start(folder: Path, pipeline: Path = PIPELINE, **environment: str) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "deploy.cli.main", "run", str(pipeline), "--replay", "--json"]
    variables = {"SHADOWSTREAM_REGISTRY_PATH": str(folder), "SHADOWSTREAM_JOIN_WINDOW_S": "129600", **environment}
    with (folder / "err").open("wb") as err, (folder / "out").open("wb") as out:
        return subprocess.Popen(command, stdout=out, stderr=err, env=os.environ | variables)


def wait_for(process: "subprocess.Popen[bytes]", folder: Path, path: Path) -> None:
    while not path.exists():
        assert process.poll() is None, (folder / "err").read_text()[-3_000:]
        time.sleep(0.05)


def result(process: "subprocess.Popen[bytes]", folder: Path) -> dict[str, Any]:
    code = process.wait(TIMEOUT_S)
    assert code == 0, (folder / "err").read_text()[-3_000:]
    last: dict[str, Any] = json.loads((folder / "out").read_text().splitlines()[-1])
    return last


def check(summary: dict[str, Any], published: Counter[str]) -> None:
    assert summary["balanced"]
    assert summary["lost"] == summary["doubled"] == 0
    assert summary["requests"] == published["requests"]
    assert summary["predictions"] >= published["requests"]
    assert summary["samples"] == summary["outcomes"] == published["outcomes"]
    assert summary["unlabelled"] == published["requests"] - published["outcomes"]


@pytest.mark.long
def test_a_slice_of_the_year(broker: Running, store_server: Running, published: Counter[str], tmp_path: Path) -> None:
    if (broker.kind == "embedded") != (store_server.kind == "embedded"):
        pytest.skip("embedded with embedded, real with real")
    addresses = {"SHADOWSTREAM_KAFKA_BOOTSTRAP": broker.address, "SHADOWSTREAM_REDIS_URL": store_server.address}
    summary = result(start(tmp_path, PIPELINE, **(addresses if broker.kind == "external" else {})), tmp_path)
    check(summary, published)
    assert summary["predictions"] == published["requests"]
    assert summary["candidates"] >= 3
    assert summary["auc_served"] > 0.6
    assert summary["sparsity"] >= 0.5
    assert summary["artifact_bytes"] * 3 < summary["float_bytes"]
    check_that_nothing_knew_its_future(Registry(tmp_path / "slice"))
    if broker.kind == "embedded":  # what follows asks the registry alone
        check_that_each_version_is_what_its_log_makes(tmp_path)
        check_that_a_backtest_decides_the_same(tmp_path)


@pytest.mark.long
def test_a_sparse_replay_waits_for_no_silent_partition(tmp_path: Path) -> None:
    """One event a day, an outcome every other day: the predictions get ahead of the watermark by weeks."""
    (pipeline := tmp_path / "pipeline.py").write_text(SPARSE)
    never = {"SHADOWSTREAM_JOIN_IDLE_S": "1e6", "SHADOWSTREAM_REPLAY_STALL_S": "120"}
    check(result(start(tmp_path, pipeline, **never), tmp_path), counted(pipeline))


@pytest.mark.long
def test_experts_of_other_packages(tmp_path: Path) -> None:
    summary = result(start(tmp_path, EXPERTS), tmp_path)
    check(summary, counted(EXPERTS))
    assert summary["logloss_served"] < min(0.35, summary["logloss_deep"])


def check_that_nothing_knew_its_future(registry: Registry) -> None:
    """Check that no version or intercept that served a request had learned an outcome published after it."""
    samples = [sample for commit in registry.records(COMMITS) for sample in commit.read()]
    known_until = [0, *accumulate((s.label_t for s in samples), max)]  # by how many samples were learned
    versions = list(registry.records(CHAMPIONS))
    assert len(samples) > 1_000
    for sample in samples:
        asked = sample.prediction
        assert asked.t < sample.label_t
        assert known_until[asked.learned] <= asked.t
        assert known_until[versions[asked.version].learned] <= asked.t
    assert len({s.prediction.version for s in samples}) == len(versions) or len(versions) == 1
    assert max(s.prediction.learned for s in samples) > len(samples) // 2


def check_that_each_version_is_what_its_log_makes(folder: Path) -> None:
    """Check that the roles' processes made the bits that are made of their commits in this one."""
    settings = msgspec.structs.replace(Settings(), registry=Folder(path=str(folder)))
    for version in range(Registry(folder / "slice").last(CHAMPIONS) + 1):
        assert remake(PIPELINE, settings, version).equal


def check_that_a_backtest_decides_the_same(folder: Path) -> None:
    """Check that the pipeline's policy comes to the run's verdicts, bit for bit, and a stricter one to none."""
    (strict := folder / "strict.toml").write_text("alpha = 1e-30\n")
    settings = load_settings(PIPELINE.parents[3] / "examples" / "flights" / "shadowstream.toml")
    settings = msgspec.structs.replace(settings, registry=Folder(path=str(folder)))
    found = backtest(PIPELINE, settings, [strict])
    ours, stricter = found.policies
    registry = Registry(folder / "slice")
    assert found.same >= 2
    assert not found.otherwise
    made, kept = (
        [(one.artifact, one.commit, one.offset, one.at_ms) for one in versions]
        for versions in (ours.versions, registry.records(CHAMPIONS))
    )
    assert made == kept
    assert ours.promotions > stricter.promotions == 0
    assert ours.total.values[found.loss] != stricter.total.values[found.loss]
    first = registry.record(COMMITS, ours.verdicts[0].commit)
    assert first
    (late,) = backtest(PIPELINE, settings, [], since=str(first.watermark_ms)).policies
    assert [one.decision for one in late.verdicts] == [one.decision for one in ours.verdicts]
    assert 0 < late.total.count < ours.total.count
    assert 0 < sum(late.decisions.values()) < sum(ours.decisions.values())


@pytest.mark.long
def test_killing_every_actor_loses_and_doubles_nothing(brief: Path, tmp_path: Path) -> None:
    process = start(tmp_path, brief)
    killed = set[int]()
    wait_for(process, tmp_path, tmp_path / "brief" / "tail" / "000000000003")
    for child in psutil.Process(process.pid).children(recursive=True):
        if child.name().startswith("ray::Actor"):
            child.kill()
            killed.add(child.pid)
    assert len(killed) == len(ROLES) + 2, "the joiner's and the server's too"
    check(result(process, tmp_path), counted(brief))  # requests served again make the same ids: they are duplicates


@pytest.mark.long
def test_a_run_whose_store_dies_starts_it_again_and_nothing_is_lost(brief: Path, tmp_path: Path) -> None:
    process = start(tmp_path, brief)
    wait_for(process, tmp_path, tmp_path / "brief" / "tail" / "000000000001")
    family = psutil.Process(process.pid).children(recursive=True)
    next(child for child in family if child.name().startswith("valkey-server")).kill()
    check(result(process, tmp_path), counted(brief))
    assert "the embedded store ended with exit code 137; its log is" in (tmp_path / "err").read_text()


@pytest.mark.long
def test_a_run_whose_broker_dies_ends_and_says_so(brief: Path, tmp_path: Path) -> None:
    process = start(tmp_path, brief)
    try:
        wait_for(process, tmp_path, tmp_path / "brief" / "tail" / "000000000001")
        family = psutil.Process(process.pid).children(recursive=True)
        next(child for child in family if child.name().startswith("tansu")).kill()
        assert process.wait(TIMEOUT_S) == 3
    finally:
        process.kill()
    assert "error: the embedded broker ended" in (tmp_path / "err").read_text()
    _, alive = psutil.wait_procs(family, timeout=TIMEOUT_S)
    assert not alive
