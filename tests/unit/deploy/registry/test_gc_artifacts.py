"""Which candidates' artifacts stay and for what, and what becomes of blobs and drafts of nobody."""

import os
import time
from pathlib import Path
from threading import Event

import pytest

from deploy.registry.candidates import add, gone
from deploy.registry.gc import needs
from deploy.registry.gc import sweep as module
from deploy.registry.gc.heads import Heads
from deploy.registry.gc.sweep import NOBODY, Kept, look, sweep, sweeping
from deploy.registry.kinds import ASIDE, BLOBS, CANDIDATES, CHAMPIONS, ENGINES, EVALUATOR, ORDERS, VERDICTS
from deploy.registry.records import Candidate, Champion, Engine, Figures, Order, Proof
from deploy.registry.registry import Registry
from deploy.registry.storage import Disk
from learners.evaluation.verdict import Decision, Verdict
from tests.committed import append, empty

PROOF = Proof(largest=0, mean=0, changed=0, rows=1)
FIGURES = Figures(**dict.fromkeys(Figures.__struct_fields__, 0))
COUNT, WAIT_S = 20, 60.0  # candidates; against a hang alone


def verdict(number: int, commit: int) -> Verdict:
    return Verdict(
        candidate=number, decision=Decision.FUTILE, samples=0, log_wealth=0.0, log_needed=0.0, gain=0.0, margin=0.0,
        offset=(0.0,), at_ms=0, commit=commit,
    )  # fmt: skip


@pytest.fixture
def registry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Registry:
    """Candidates 0 to 19, with a verdict each but for 3; number 2 serves, and 4 is ordered. 6 has an engine."""
    monkeypatch.setattr(needs, "ROOM_BYTES", 0)
    registry = Registry(tmp_path)
    for n in range(COUNT + 1):
        append(registry, empty(n))
    template, ranges = registry.put(b"a template"), registry.put(b"ranges of 6")
    registry.objects.create(f"{ENGINES}/key.json", b'"%s"' % template.encode())
    for n in range(COUNT):
        engine = Engine(arithmetic="mixed", template=template, ranges=ranges, proof=PROOF) if n == 6 else None
        add(registry, Candidate(
            number=-1, commit=n, learned=n, at_ms=0, reason="schedule", artifact=registry.put(b"artifact %d" % n),
            figures=FIGURES, engine=engine, refused="too far" if n == 5 else None,
        ))  # fmt: skip
        if n != 3:
            registry.create(VERDICTS, n, verdict(n, n + 1))
    served = registry.record(CANDIDATES, 2)
    assert served
    registry.create(CHAMPIONS, 0, Champion(
        number=0, artifact=served.artifact, candidate=2, offset=(0.0,), at_ms=0, learned=0, evidence="",
    ))  # fmt: skip
    registry.create(ORDERS, 0, Order(
        number=0, what="promote", version=None, candidate=4, who="eva", why="a hunch", at_ms=0, commit=0,
    ))  # fmt: skip
    return registry


def kept_for(registry: Registry, number: int) -> list[str]:
    found = registry.record(CANDIDATES, number)
    assert found
    (one,) = [one for one in look(registry).stays if one.name == f"{BLOBS}/{found.artifact}"]
    return one.kept_for


def test_of_old_candidates_those_stay_that_something_needs(registry: Registry) -> None:
    assert kept_for(registry, 2) == ["champion/00000000"]
    assert kept_for(registry, 3) == ["the test of candidate 3"]
    assert kept_for(registry, 4) == ["an order of candidate 4"]
    assert kept_for(registry, 12) == ["candidate 12, of the newest"]
    went = sweep(registry).goes
    assert gone(registry) == {0, 1, *range(5, 12)}
    assert sorted(one.what for one in went) == ["artifact"] * 9 + ["ranges of an engine"]
    assert not sweep(registry).goes


def test_as_many_artifacts_stay_as_there_is_room_for(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    size = len(b"artifact 10")
    monkeypatch.setattr(needs, "ROOM_BYTES", 10 * size)
    sweep(registry)
    assert gone(registry) == {0, 1, *range(5, 10)}


def test_what_a_summary_has_on_trial_stays(registry: Registry) -> None:
    """A verdict that came after the older summary: who goes on from that tests the candidate again."""
    folds = registry.folds(EVALUATOR.name)
    for n in (9, 14):
        folds.keep(n, b"commit %d" % n, b"a summary")
    assert kept_for(registry, 8) == ["a summary of before the verdict on candidate 8"]
    sweep(registry)
    assert gone(registry) == {0, 1, 5, 6, 7}


@pytest.mark.parametrize("late", [False, True])
def test_a_candidate_that_is_added_while_an_equal_artifact_goes_has_it(
    registry: Registry, monkeypatch: pytest.MonkeyPatch, *, late: bool
) -> None:
    """The distiller puts what candidate 0 was and finds it there; its record comes once that is set aside, or gone."""
    move, delete, first = Disk.move, Disk.delete, registry.record(CANDIDATES, 0)
    assert first
    packed, done = b"artifact 0", list[int]()

    def moved(objects: Disk, name: str, to: str) -> None:
        here = name == f"{BLOBS}/{first.artifact}"
        if here:
            assert registry.put(packed) == first.artifact
        move(objects, name, to)
        if here:
            assert registry.find(first.artifact) == packed, "what is set aside is read all the same"
            done.extend([] if late else [add(registry, first, packed)])

    def deleted(objects: Disk, name: str) -> None:
        delete(objects, name)
        if late and name.endswith(first.artifact):
            assert not registry.has(first.artifact)
            done.append(add(registry, first, packed))

    monkeypatch.setattr(Disk, "move", moved)
    monkeypatch.setattr(Disk, "delete", deleted)
    sweep(registry)
    assert done == [COUNT]
    assert registry.find(first.artifact) == packed


def test_a_blob_of_nobody_goes_where_it_was_there_before(registry: Registry) -> None:
    digest = registry.put(b"put by a distiller that died")
    (one,) = [one for one in sweep(registry).stays if one.name == f"{BLOBS}/{digest}"]
    assert one.kept_for == [NOBODY]
    late = registry.put(b"another, just now")
    went = sweep(registry, frozenset({digest})).goes
    assert [one.what for one in went] == ["of nobody"]
    assert registry.find(digest) is None
    assert registry.find(late) is not None


def test_a_run_sweeps_what_was_nobody_s_at_its_start(registry: Registry, monkeypatch: pytest.MonkeyPatch) -> None:
    digest, swept = registry.put(b"put by a distiller that died"), Event()

    def sweeps(of: Registry, before: frozenset[str], keeping: None, heads: Heads) -> Kept:
        found = sweep(of, before, keeping, heads)
        swept.set()
        return found

    monkeypatch.setattr(module, "sweep", sweeps)
    with sweeping(registry.home, 0.001, 3_600.0):
        assert swept.wait(WAIT_S)
    assert registry.find(digest) is None


def test_drafts_of_the_dead_go(registry: Registry) -> None:
    old, fresh = (registry.folder / BLOBS / f".{digit * 32}" for digit in "ab")
    aside = registry.folder / BLOBS / f"{ASIDE}note"
    for path in (old, fresh, aside):
        path.write_bytes(b"half of a state")
    an_hour_ago = time.time() - 3_700
    os.utime(old, (an_hour_ago, an_hour_ago))
    sweep(registry)
    assert not old.exists()
    assert fresh.exists()
