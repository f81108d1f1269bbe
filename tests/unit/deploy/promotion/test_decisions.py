"""Which version follows from an alarm or an order, through any crash, and what never serves again by itself."""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deploy.operate.versions.orders import give
from deploy.promotion.conductor import ConductorRole
from deploy.promotion.decisions import SETTLES_MS, US
from deploy.registry.kinds import ALARMS, BLOBS, CANDIDATES, CHAMPIONS, STEPS, VERDICTS
from deploy.registry.notes import BrokenNote
from deploy.registry.opening import open_registry
from deploy.registry.records import Alarm, CanaryStep, Candidate, Champion, Evidence, Figures
from deploy.registry.registry import Registry
from deploy.registry.reigns import barred, base
from learners.evaluation.gate import Policy, Promotion
from learners.evaluation.verdict import Decision, Guard, Verdict
from shadowstream import ConfigError
from streams.join.store import Store
from tests.committed import append, empty

DAY_MS = 86_400_000
FIGURES = Figures(**dict.fromkeys(Figures.__struct_fields__, 0))


class Board:
    def put(self, feed: str, notes: dict[str, bytes]) -> None:
        self.note = msgspec.json.decode(notes["conductor"])


def filled(folder: Path, proven: int = 3, *, sealed: bool = True) -> Registry:
    """Return a registry of a first version and so many that were proven after it, each decided a day later."""
    registry = open_registry(folder) if sealed else Registry(folder)
    for n in range(20):
        append(registry, empty(n))
    registry.create(CHAMPIONS, 0, version(0))
    for n in range(proven):
        decide(registry, n, commit=n + 1)
    run(registry)
    return registry


def version(number: int, **more: Any) -> Champion:
    fields = {
        "artifact": f"{number}" * 8,
        "candidate": None,
        "offset": (0.0,),
        "at_ms": 0,
        "learned": 0,
        "evidence": "a test",
    }
    return Champion(number=number, **(fields | more))


def decide(registry: Registry, number: int, commit: int, artifact: str | None = None, waits: str = "") -> None:
    made = Candidate(
        number=number,
        commit=commit,
        learned=0,
        at_ms=0,
        reason="",
        artifact=artifact or f"{number + 1}" * 8,
        figures=FIGURES,
    )
    registry.objects.create(f"{BLOBS}/{made.artifact}", b"an artifact")
    registry.create(CANDIDATES, number, made)
    verdict = Verdict(
        candidate=number, decision=Decision.PROVEN, samples=1, log_wealth=9.0, log_needed=1.0, gain=0.0, margin=0.0,
        offset=(0.5,), at_ms=commit * DAY_MS, commit=commit, waits=waits,
    )  # fmt: skip
    registry.create(VERDICTS, number, verdict)


def alarm(number: int, champion: int, back_to: int, commit: int, at_ms: int | None = None) -> Alarm:
    return Alarm(
        number=number, champion=champion, back_to=back_to, old=False, detector="fast", log_r=11.5, log_needed=11.0,
        samples=700, gain=-0.2, since_ms=0, offset=(0.25,), at_ms=commit * DAY_MS if at_ms is None else at_ms,
        commit=commit,
    )  # fmt: skip


def run(registry: Registry, policy: Policy = "automatic") -> dict[str, Any]:
    board = Board()
    conductor = ConductorRole("ads", cast(Store, board), registry, Promotion(policy=policy))
    while conductor.step(0):
        pass
    return dict(board.note)


def versions(registry: Registry) -> list[tuple[str, int | None]]:
    return [(one.artifact[0], one.back_to) for one in registry.records(CHAMPIONS)]


def test_an_alarm_brings_the_version_before_back_and_what_it_left_stays_gone(tmp_path: Path) -> None:
    registry = filled(tmp_path / "ads")
    registry.create(ALARMS, 0, alarm(0, 3, 2, commit=5))
    run(registry)
    assert versions(registry) == [("0", None), ("1", None), ("2", None), ("3", None), ("2", 2)]
    last = registry.record(CHAMPIONS, 4)
    assert last is not None
    assert (last.offset, last.by, last.commit) == ((0.25,), US, 5)
    assert last.because == "v3 is worse than v2: e^11.5 of e^11.0 after 700 samples, fast detector"
    decide(registry, 3, commit=6, artifact="3" * 8)  # the same once more, proven or not
    decide(registry, 4, commit=7, artifact="5" * 8)
    run(registry)
    assert versions(registry)[-2:] == [("2", 2), ("5", None)]
    give(registry, "promote", "it was the labels", "eva", version=3)  # a person may
    run(registry)
    assert versions(registry)[-1] == ("3", None)


def test_what_waited_in_a_pause_waits_after_a_resume_and_a_new_start(tmp_path: Path) -> None:
    """The verdict says so. A person's word brings it, with its proof and its own offset."""
    registry = filled(tmp_path / "ads")
    give(registry, "pause", "a campaign", "eva")
    decide(registry, 3, commit=6, waits="paused")
    run(registry)
    give(registry, "resume", "it is over", "eva")
    run(registry)
    assert len(versions(registry)) == 4
    give(registry, "promote", "it is good", "eva", candidate=3)
    run(registry)
    made = list(registry.records(CHAMPIONS))[-1]
    assert (made.artifact[0], made.offset, made.by) == ("4", (0.5,), "eva")
    assert isinstance(made.evidence, Evidence)


def canary(folder: Path) -> Registry:
    """Return a registry in which the first version answers all but 10 % of the requests, which version 1 does."""
    registry = filled(folder, proven=0)
    decide(registry, 0, commit=1)
    run(registry, "canary")
    step(registry, 1, 0.01)
    run(registry, "canary")
    assert [one.share for one in registry.records(CHAMPIONS)] == [1.0, 0.01, 0.1]
    return registry


def step(registry: Registry, version: int, share: float, *, passed: bool = True) -> None:
    guard = Guard("finite", 7.0, 0.0, passed, "7 of 9 outputs are not finite")
    made = CanaryStep(
        version=version, share=share, own=500, against=0, samples=900, gain=0.01, guards=(guard,),
        at_ms=version * DAY_MS, commit=version + 1,
    )  # fmt: skip
    registry.create(STEPS, version, made)


@pytest.mark.parametrize("paused", [True, False])
def test_an_alarm_at_any_step_ends_a_canary_and_what_serves_goes_on(paused: bool, tmp_path: Path) -> None:
    """The alarm is of a step before, and its offset is not that with which the base has gone on."""
    registry = canary(tmp_path / "ads")
    if paused:
        give(registry, "pause", "a campaign", "eva")
    registry.create(ALARMS, 0, alarm(0, 1, 0, commit=5))
    run(registry, "canary")
    back = list(registry.records(CHAMPIONS))[-1]
    assert (back.artifact[0], back.back_to, back.share, back.offset, back.by) == ("0", 0, 1.0, (0.0,), US)
    decide(registry, 1, commit=6, artifact="1" * 8)  # it stays gone
    run(registry, "canary")
    assert registry.last(CHAMPIONS) == 3


def test_a_canary_s_step_waits_for_a_person_unless_it_broke_something(tmp_path: Path) -> None:
    registry = canary(tmp_path / "ads")
    give(registry, "pause", "a campaign", "eva")
    step(registry, 2, 0.1)
    assert run(registry, "canary")["waits"] == "paused"
    assert registry.last(CHAMPIONS) == 2
    give(registry, "resume", "it is over", "eva")
    run(registry, "canary")
    assert [one.share for one in registry.records(CHAMPIONS)][3:] == [0.5]
    give(registry, "pause", "another", "eva")
    step(registry, 3, 0.5, passed=False)
    run(registry, "canary")
    back = list(registry.records(CHAMPIONS))[-1]
    assert (back.back_to, back.because) == (0, "v3: 7 of 9 outputs are not finite")


def test_under_another_policy_a_canary_s_next_share_is_all(tmp_path: Path) -> None:
    registry = canary(tmp_path / "ads")
    step(registry, 2, 0.1)
    run(registry, "automatic")
    assert [one.share for one in registry.records(CHAMPIONS)] == [1.0, 0.01, 0.1, 1.0]
    assert versions(registry)[-1] == ("1", None)


def test_a_person_s_word_ends_a_canary(tmp_path: Path) -> None:
    for n, (what, more, then) in enumerate(
        [
            ("promote", {"version": 2}, ("1", None)),
            ("promote", {"candidate": 0}, ("1", None)),
            ("promote", {"version": 0}, ("0", None)),
            ("rollback", {}, ("0", 0)),
        ]
    ):
        registry = canary(tmp_path / str(n) / "ads")
        with pytest.raises(ConfigError, match="version 2 serves already"):
            give(registry, "rollback", "because", "eva", version=2)
        give(registry, cast(Any, what), "because", "eva", **cast(Any, more))
        run(registry, "canary")
        assert versions(registry)[-1] == then
        assert list(registry.records(CHAMPIONS))[-1].share == 1.0
        step(registry, 2, 0.1)  # it came too late
        run(registry, "canary")
        assert registry.last(CHAMPIONS) == 3


NAN = Guard("finite", 64.0, 7.0, False, "64 of the newest 256 requests get no finite answer, and v2 answers them")


def told(registry: Registry, note: BrokenNote, policy: Policy = "automatic") -> None:
    """Have a conductor act while a server says so."""
    board = Board()
    conductor = ConductorRole("ads", cast(Store, board), registry, Promotion(policy=policy), lambda: note)
    while conductor.step(0):
        pass


def test_what_a_server_sees_of_a_broken_version_is_an_alarm_and_brings_the_one_before_back(tmp_path: Path) -> None:
    registry = filled(tmp_path / "ads")
    told(registry, BrokenNote(3, "3" * 8, 2, 256, NAN))
    (raised,) = registry.records(ALARMS)
    assert (raised.kind, raised.champion, raised.back_to, raised.commit) == ("guard", 3, 2, 19)
    assert versions(registry)[-1] == ("2", 2)
    last = registry.record(CHAMPIONS, 4)
    assert last is not None
    assert (last.because, last.offset, last.by) == (f"v3: {NAN.said}", (0.5,), US)
    told(registry, BrokenNote(3, "3" * 8, 2, 256, NAN))  # it is on the board for long
    assert (registry.last(ALARMS), registry.last(CHAMPIONS)) == (0, 4)


def test_under_approval_a_broken_version_is_an_alarm_once_and_waits_for_a_person(tmp_path: Path) -> None:
    registry = filled(tmp_path / "ads")
    for rows in (128, 256):
        told(registry, BrokenNote(3, "3" * 8, 2, rows, NAN), "approval")
    assert (registry.last(ALARMS), registry.last(CHAMPIONS)) == (0, 3)


@pytest.mark.parametrize(
    "note",
    [
        BrokenNote(2, "2" * 8, 1, 256, NAN),  # which serves no more
        BrokenNote(3, "f" * 8, 2, 256, NAN),  # of another feed of this name
        BrokenNote(9, "3" * 8, 2, 256, NAN),
        BrokenNote(3, "3" * 8, 3, 256, NAN),
    ],
)
def test_what_was_said_of_another_version_changes_nothing(note: BrokenNote, tmp_path: Path) -> None:
    registry = filled(tmp_path / "ads")
    told(registry, note)
    assert (registry.last(ALARMS), registry.last(CHAMPIONS)) == (-1, 3)


def test_an_alarm_about_a_version_that_serves_no_more_changes_nothing(tmp_path: Path) -> None:
    registry = filled(tmp_path / "ads")
    registry.create(ALARMS, 0, alarm(0, 2, 1, commit=5))
    assert run(registry)["alarms"] == 1
    assert len(versions(registry)) == 4


def test_after_a_rollback_none_follows_at_once_and_two_within_a_month_ask_for_a_person(tmp_path: Path) -> None:
    registry = filled(tmp_path / "ads")
    registry.create(ALARMS, 0, alarm(0, 3, 2, commit=5))
    registry.create(ALARMS, 1, alarm(1, 4, 1, commit=6, at_ms=5 * DAY_MS + SETTLES_MS - 1))
    assert run(registry)["waits"] == ""
    assert len(versions(registry)) == 5
    registry.create(ALARMS, 2, alarm(2, 4, 1, commit=7, at_ms=5 * DAY_MS + SETTLES_MS))
    assert run(registry)["waits"] == "2 rollbacks within 30 days; `shadowstream resume` goes on"
    assert versions(registry)[-1] == ("1", 1)
    decide(registry, 3, commit=8, artifact="9" * 8)
    run(registry)
    assert versions(registry)[-1] == ("1", 1)
    give(registry, "resume", "we have looked", "eva")
    decide(registry, 4, commit=9, artifact="8" * 8)
    assert run(registry)["waits"] == ""
    assert versions(registry)[-1] == ("8", None)


def test_by_approval_nothing_happens_without_a_person(tmp_path: Path) -> None:
    registry = filled(tmp_path / "ads", proven=0)
    decide(registry, 0, commit=1)
    assert run(registry, "approval")["waits"] == "Promotion(policy='approval')"
    assert versions(registry) == [("0", None)]
    give(registry, "promote", "looks good", "eva", candidate=0)
    run(registry, "approval")
    assert versions(registry) == [("0", None), ("1", None)]
    registry.create(ALARMS, 0, alarm(0, 1, 0, commit=5))
    run(registry, "approval")
    give(registry, "rollback", "it does not", "eva")
    run(registry, "approval")
    assert versions(registry)[-1] == ("0", 0)
    assert [one.by for one in registry.records(CHAMPIONS)] == ["", "eva", "eva"]


def test_a_pause_holds_verdicts_and_alarms_and_a_resume_does_not_do_them_later(tmp_path: Path) -> None:
    registry = filled(tmp_path / "ads")
    give(registry, "pause", "a campaign", "eva")
    decide(registry, 3, commit=6)
    registry.create(ALARMS, 0, alarm(0, 3, 2, commit=7))
    assert run(registry)["waits"] == "paused"
    assert len(versions(registry)) == 4


@pytest.mark.parametrize(
    ("what", "more", "why"),
    [
        ("promote", {"version": 9}, "there is no version 9; the newest is 3"),
        ("promote", {"version": 3}, "version 3 serves already"),
        ("promote", {"candidate": 7}, "there is no candidate 7; the newest is 2"),
        ("rollback", {"version": -1}, "there is no version -1"),
    ],
)
def test_an_order_that_makes_no_sense_is_refused(what: Any, more: dict[str, int], why: str, tmp_path: Path) -> None:
    registry = filled(tmp_path / "ads")
    with pytest.raises(ConfigError, match=why):
        give(registry, what, "because", "eva", **more)
    with pytest.raises(ConfigError, match="--why needs a reason"):
        give(registry, what, " ", "eva")


class Dying(Registry):
    """Dies before, or after, the creation of a version."""

    def __init__(self, of: Registry, at: int, *, after: bool) -> None:
        super().__init__(of.folder, of._seals)
        self._left, self._after = at, after

    def create(self, kind: Any, number: int, record: Any) -> bool:
        self._left -= kind is CHAMPIONS
        if kind is CHAMPIONS and not self._left and not self._after:
            raise KeyboardInterrupt
        done = super().create(kind, number, record)
        if kind is CHAMPIONS and not self._left:
            raise KeyboardInterrupt
        return done


def happened(registry: Registry, steps: list[str]) -> Iterator[None]:
    """Have one thing happen after the other: proofs, alarms and orders, as they may come."""
    alarms, candidates = 0, 3
    for n, what in enumerate(steps):
        now, commit = registry.last(CHAMPIONS), 4 + n
        if what == "proof":
            decide(registry, candidates, commit, artifact=f"{candidates}" * 8)
            candidates += 1
        elif what == "alarm" and now:
            registry.create(ALARMS, alarms, alarm(alarms, now, now - 1, commit, at_ms=n * 40 * DAY_MS))
            alarms += 1
        elif what == "rollback" and now:
            give(registry, "rollback", "because", "eva", version=max(0, now - 2))
        elif what.startswith("step") and (share := list(registry.records(CHAMPIONS))[-1].share) < 1:
            step(registry, now, share, passed=what == "step")
        yield


@settings(max_examples=25)
@given(
    st.lists(st.sampled_from(["proof", "alarm", "rollback", "step", "step that breaks"]), min_size=1, max_size=8),
    st.integers(1, 4),
    st.booleans(),
    st.sampled_from(["automatic", "canary"]),
)
def test_through_any_crash_and_beside_a_rival_the_same_versions_follow_once(
    tmp_path_factory: pytest.TempPathFactory, steps: list[str], at: int, after: bool, policy: Policy
) -> None:
    whole, broken = (
        filled(tmp_path_factory.mktemp("a") / "ads", sealed=False),
        filled(tmp_path_factory.mktemp("b") / "ads", sealed=False),
    )
    for _ in happened(whole, steps):
        run(whole, policy)
    dying = Dying(broken, at, after=after)
    for _ in happened(broken, steps):
        try:
            run(dying, policy)
        except KeyboardInterrupt:
            run(broken, policy)
        run(broken, policy)  # a rival that begins from the first
    assert versions(broken) == versions(whole)
    assert [one.share for one in broken.records(CHAMPIONS)] == [one.share for one in whole.records(CHAMPIONS)]
    made = list(broken.records(CHAMPIONS))
    for n, (before, now) in enumerate(pairwise(made), 1):
        assert now.number == n
        if now.by in ("", US):
            on = now.share == 1.0 and now.artifact == base(made[:n]).artifact  # a canary's base goes on
            assert now.artifact not in barred(made[:n]) or now.artifact == before.artifact or on


def test_what_is_broken_goes_back_at_once_and_what_torch_serves_stays(tmp_path: Path) -> None:
    registry, guard = filled(tmp_path / "ads"), Guard("finite", 7.0, 0.0, False, "7 of 9 outputs are not finite")
    registry.create(ALARMS, 0, alarm(0, 3, 2, commit=5))
    mismatch = alarm(1, 4, 4, commit=6, at_ms=5 * DAY_MS + 1)
    registry.create(ALARMS, 1, msgspec.structs.replace(mismatch, kind="mismatch", guard=guard))
    run(registry)
    assert versions(registry)[4:] == [("2", 2)]
    broken = alarm(2, 4, 1, commit=7, at_ms=5 * DAY_MS + 2)  # two detectors' alarms wait for days
    registry.create(ALARMS, 2, msgspec.structs.replace(broken, kind="guard", guard=guard))
    run(registry)
    assert versions(registry)[4:] == [("2", 2), ("1", 1)]
    again = registry.record(CHAMPIONS, 5)
    assert again is not None
    assert again.because == "v4: 7 of 9 outputs are not finite"
