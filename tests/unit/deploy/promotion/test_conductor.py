"""The conductor: what its note says once a candidate was promoted."""

from pathlib import Path
from typing import cast

import msgspec

from deploy.promotion.conductor import ConductorRole
from deploy.registry.kinds import CANDIDATES, CHAMPIONS, VERDICTS
from deploy.registry.records import Candidate, Champion, ConductorNote, Figures
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


def decide(registry: Registry, number: int, decision: Decision) -> None:
    made = Candidate(number=number, commit=0, learned=0, at_ms=0, reason="", artifact=str(number), figures=FIGURES)
    registry.create(CANDIDATES, number, made)
    verdict = Verdict(
        candidate=number, decision=decision, samples=1, log_wealth=9.0, log_needed=1.0, gain=0.0, margin=0.0,
        offset=(0.0,), at_ms=0, commit=0,
    )  # fmt: skip
    registry.create(VERDICTS, number, verdict)


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
