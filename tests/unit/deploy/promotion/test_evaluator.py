"""The evaluator's notes: how far it is at once, metrics now and then, and the last metrics for certain."""

from dataclasses import replace
from pathlib import Path
from typing import cast

import msgspec
import pytest
from msgspec import Raw

from deploy.learning.bootstrap import bootstrap
from deploy.promotion.evaluator import METRICS_EVERY_S, EvaluatorRole, watched
from deploy.registry.kinds import ALARMS, DRIFT, EVALUATOR, METRICS
from deploy.registry.notes import DriftNote
from deploy.registry.records import Alarm
from deploy.registry.registry import Registry
from learners.commits.commit import Commit, Run
from learners.evaluation.verdict import Guard
from learners.live.features.fields import NONE
from streams.join.store import Store
from tests import small
from tests.committed import append

PIPELINE = replace(small.pipeline, history=None)


class Board:
    """Keeps the newest note of each name, and counts how often some were put."""

    def __init__(self) -> None:
        self.notes: dict[str, bytes] = {}
        self.puts = 0

    def put(self, feed: str, notes: dict[str, bytes]) -> None:
        self.notes |= notes
        self.puts += 1

    @property
    def shown(self) -> tuple[int, int]:
        """The last commit that was taken, and the number of samples in the metrics."""
        note, metrics = EVALUATOR.read(self.notes["evaluator"]), METRICS.read(self.notes["metrics"])
        assert note is not None
        assert metrics is not None
        return note.commit, metrics.total["served"].count


def commit(registry: Registry, number: int) -> None:
    """Have ten samples committed."""
    samples = small.samples(10, start=10 * number)
    made = Commit(
        number=number,
        parent="",
        learned=10 * number,
        samples=[Raw(msgspec.json.encode(sample)) for sample in samples],
        runs=[Run(0, 10 * number - 9, 10)],
        batches=[10],
        shadow=[[0.0]] * 10,
        intercept=(0.0,),
        positions={},
        watermark_ms=samples[-1].prediction.t,
        latest_ms=samples[-1].prediction.t,
        fingerprint="",
    )
    append(registry, made)


def test_the_last_metrics_are_noted_though_no_commit_follows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    registry, board, now_s = Registry(tmp_path), Board(), [100.0]
    assert bootstrap(PIPELINE, registry)
    role = EvaluatorRole(PIPELINE, small.timing(1), cast(Store, board), registry)
    monkeypatch.setattr("time.monotonic", lambda: now_s[0])
    commit(registry, 1)
    commit(registry, 2)
    assert [role.step(0) for _ in range(3)] == [True, True, True]
    assert board.shown == (2, 0)  # measured at commit 0, and not again so soon
    assert (role.step(0), board.puts) == (False, 3)
    now_s[0] += METRICS_EVERY_S + 0.1
    assert (role.step(0), board.puts) == (False, 4)
    assert board.shown == (2, 20)
    assert (role.step(0), board.puts) == (False, 4)


def test_an_alarm_is_raised_once_and_what_servers_saw_keeps_its_number(tmp_path: Path) -> None:
    """One that begins again at the first commit raises the same alarms, among others that are not its own."""
    registry = Registry(tmp_path)
    assert bootstrap(PIPELINE, registry)
    guard = Guard("finite", 64.0, 7.0, False, "no answers")
    theirs, ours, later = (
        Alarm(
            number=-1, champion=champion, back_to=0, old=False, detector="finite", log_r=0.0, log_needed=0.0, samples=0,
            gain=0.0, since_ms=0, offset=(0.0,), at_ms=0, commit=0, kind="guard", guard=guard,
        )
        for champion in (1, 3, 5)
    )  # fmt: skip
    registry.create(ALARMS, 0, msgspec.structs.replace(theirs, number=0))
    for alarms in ([ours], [ours, later]):
        role = EvaluatorRole(PIPELINE, small.timing(1), cast(Store, Board()), registry)
        for one in alarms:
            role._raise(one)
    assert [(one.number, one.champion) for one in registry.records(ALARMS)] == [(0, 1), (1, 3), (2, 5)]


def test_slices_and_drift_are_noted(tmp_path: Path) -> None:
    registry, board = Registry(tmp_path), Board()
    pipeline = replace(PIPELINE, slices="x")
    assert bootstrap(pipeline, registry)
    role = EvaluatorRole(pipeline, small.timing(1), cast(Store, board), registry)
    commit(registry, 1)
    assert [role.step(0) for _ in range(2)] == [True, True]
    measured, drift = METRICS.read(board.notes["metrics"]), DRIFT.read(board.notes["drift"])
    assert measured is not None
    assert list(measured.slices) == ["x"]
    assert measured.worst is None
    assert drift == DriftNote([])


def test_the_fields_that_are_watched_are_those_that_can_be_read() -> None:
    class Visit(msgspec.Struct):
        country: str
        age: float

    read = watched(replace(PIPELINE, features=Visit))
    assert (read.categories, read.numbers) == (("country",), ("age",))
    assert watched(PIPELINE) == NONE
