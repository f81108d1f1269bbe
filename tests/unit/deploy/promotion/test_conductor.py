"""The conductor: what its note says once a candidate was promoted."""

from pathlib import Path
from typing import cast

import msgspec

from deploy.promotion.conductor import ConductorRole
from deploy.registry.kinds import CANDIDATES, CHAMPIONS, VERDICTS
from deploy.registry.notes import ConductorNote
from deploy.registry.records import Candidate, Champion, Figures
from deploy.registry.registry import Registry
from learners.evaluation.verdict import Decision, Verdict
from streams.join.store import Store

FIGURES = Figures(
    sparsity=0.0, artifact_bytes=0, float_bytes=0, parity_largest=0.0, parity_changed=0.0, loss=0.0, teacher_loss=0.0,
    seconds=0.0,
)  # fmt: skip


class Board:
    """Where notes go; keeps each."""

    def __init__(self) -> None:
        self.notes: list[ConductorNote] = []

    def put(self, feed: str, notes: dict[str, bytes]) -> None:
        self.notes.append(msgspec.json.decode(notes["conductor"], type=ConductorNote))


def decide(registry: Registry, number: int, decision: Decision, commit: int = 0) -> None:
    make(registry, number)
    verdict = Verdict(
        candidate=number, decision=decision, samples=1, log_wealth=9.0, log_needed=1.0, gain=0.0, margin=0.0,
        offset=(0.0,), at_ms=0, commit=commit,
    )  # fmt: skip
    registry.create(VERDICTS, number, verdict)


def make(registry: Registry, number: int) -> None:
    made = Candidate(number=number, commit=0, learned=0, at_ms=0, reason="", artifact=str(number), figures=FIGURES)
    registry.create(CANDIDATES, number, made)


def test_the_note_names_the_version_that_its_verdict_made(tmp_path: Path) -> None:
    """A replay waits until the server serves that version: with the one before, it would not wait for the swap."""
    registry, board = Registry(tmp_path), Board()
    first = Champion(number=0, artifact="", candidate=None, offset=(0.0,), at_ms=0, learned=0, evidence="a test")
    registry.create(CHAMPIONS, 0, first)
    for number, decision in enumerate([Decision.FUTILE, Decision.PROVEN, Decision.PROVEN]):
        decide(registry, number, decision)
    conductor = ConductorRole("a feed", cast(Store, board), registry)
    while conductor.step(0):
        pass
    assert board.notes == [ConductorNote(1, 0), ConductorNote(2, 1), ConductorNote(3, 2)]
    decide(registry, 3, Decision.PROVEN)
    registry.create(CHAMPIONS, 3, msgspec.structs.replace(first, number=3, candidate=3))  # a rival's
    conductor.step(0)
    assert board.notes[-1] == ConductorNote(4, 3)


def test_versions_follow_the_commits_that_decided_and_none_waits_for_an_older_candidate(tmp_path: Path) -> None:
    registry, board = Registry(tmp_path), Board()
    first = Champion(number=0, artifact="", candidate=None, offset=(0.0,), at_ms=0, learned=0, evidence="a test")
    registry.create(CHAMPIONS, 0, first)
    for number in range(3):
        make(registry, number)
    conductor = ConductorRole("a feed", cast(Store, board), registry)
    assert not conductor.step(0)
    decide(registry, 1, Decision.PROVEN, commit=9)
    decide(registry, 2, Decision.PROVEN, commit=8)
    while conductor.step(0):
        pass
    decide(registry, 0, Decision.PROVEN, commit=12)
    while conductor.step(0):
        pass
    assert [one.candidate for one in registry.records(CHAMPIONS)] == [None, 2, 1, 0]
