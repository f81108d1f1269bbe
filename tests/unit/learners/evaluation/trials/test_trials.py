"""Trials: they overlap, each beats every champion since it began, labels come late, and cuts change nothing.

Models answer ±z at a small point; all intercepts stay 0.
"""

import math
from collections.abc import Mapping, Sequence
from random import Random

import msgspec
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Raw
from torch import Tensor, nn

from learners.commits.commit import Commit, Run
from learners.evaluation.evaluate import Evaluator
from learners.evaluation.gate import Promotion
from learners.evaluation.guards.guard import TrialReport
from learners.evaluation.trials.asked import DAY_MS, Asked, Final
from learners.evaluation.trials.timing import Timing
from learners.evaluation.trials.trial import Entry
from learners.evaluation.trials.trials import Reign
from learners.evaluation.verdict import Decision, Kind, Verdict, vetoed
from learners.online.batches import Encoder
from learners.tasks.binary import Binary
from streams.events import WAITING, Sample
from streams.join.policy import JoinPolicy
from tests import small

POLICY = Promotion(candidates_a_year=10, drift_a_year=0, margin=0.0)
LATE = JoinPolicy(window_s=40 * 86_400)
CLOSE = JoinPolicy(window_s=10 * 86_400, emit="at_close")


class Scaled(nn.Module):
    """Answers a share of the true logit of a small point."""

    def __init__(self, share: float) -> None:
        super().__init__()
        self.share = share

    def forward(self, x: Tensor) -> Tensor:
        return self.share * 2 * (x[:, :1] - x[:, 1:2])


def late(n: int, days: float, a_day: int = 100) -> list[Sample]:
    """Return the log, in order, of so many predictions a day whose outcomes come after so many days."""
    entries = []
    for i, one in enumerate(small.samples(n)):
        t_ms = small.START_MS + i * (DAY_MS // a_day)
        asked = msgspec.structs.replace(one.prediction, t=t_ms, learned=0)
        told = msgspec.structs.replace(one, t=t_ms, prediction=asked, label_t=t_ms + round(days * DAY_MS))
        mark = msgspec.structs.replace(told, kind=WAITING, label=0.0, label_t=t_ms + DAY_MS)
        entries += [mark, told] if days > 1 else [told]
    return sorted(entries, key=lambda entry: entry.label_t)


def at_close(n: int, days: float, window_days: float, a_day: int = 100) -> list[Sample]:
    """Return the same of a join that emits when windows close, by the time at which it does."""
    return sorted((one for one in late(n, days, a_day) if one.kind != WAITING), key=lambda one: one.t)


class World:
    """An evaluator that takes a log in commits; candidates begin at days."""

    def __init__(
        self, join: JoinPolicy = LATE, policy: Promotion = POLICY, known: Mapping[int, Verdict] | None = None
    ) -> None:
        first = Reign(0, "first", Scaled(0.0), -1)
        self.made, self.commits, self.learned, self.latest_ms = dict[int, str]({0: "first"}), 0, 0, 0
        encoder = Encoder(small.Point, small.encode)
        self.judge = Evaluator(Binary(), encoder, policy, 0.0, Timing.of(join), first, self.made.get)
        self.verdicts, self.known = dict[int, Verdict](), known or {}

    def take(self, entries: Sequence[Sample], now_ms: int) -> None:
        samples = [one for one in entries if one.kind != WAITING]
        self.commits, self.learned = self.commits + 1, self.learned + len(samples)
        self.latest_ms = max([self.latest_ms, *(one.t for one in samples)])
        made = Commit(
            number=self.commits,
            parent="",
            learned=self.learned,
            samples=[Raw(msgspec.json.encode(one)) for one in entries],
            runs=[Run(0, 1, len(entries))],
            batches=[len(entries)],
            shadow=[[0.0]] * len(samples),
            intercept=(0.0,),
            positions={},
            watermark_ms=now_ms,
            heard_ms=now_ms,
            latest_ms=self.latest_ms,
            fingerprint="",
        )
        self.end(self.judge.take(made))

    def start(self, number: int, share: float, key: str = "", kind: Kind = Kind.REFRESH) -> None:
        entry = Entry(number, key or str(number), kind, self.judge.reach_ms)
        self.end(self.judge.start(entry, Scaled(share), self.known.get(number)))

    def end(self, verdicts: Sequence[Verdict]) -> None:
        for one in verdicts:
            assert one.candidate not in self.verdicts
            self.verdicts[one.candidate] = one

    def fate(self, number: int) -> Decision | None:
        return self.verdicts[number].decision if number in self.verdicts else None


def play(log: Sequence[Sample], starts: dict[int, float], world: World, cuts: Random, held_days: float = 0) -> World:
    """Take a log of which each entry comes at its label's time, or so many days after its prediction.

    Candidate n starts at its day, with such a share of the truth.
    """
    begins = {small.START_MS + day * DAY_MS: (n, share) for n, (day, share) in enumerate(sorted(starts.items()))}
    came = [(one.t + round(held_days * DAY_MS) if held_days else one.label_t, one) for one in log]
    part = list[Sample]()
    for n, (now_ms, one) in enumerate(came):
        for at_ms in [at_ms for at_ms in begins if at_ms <= now_ms]:
            world.take(part, at_ms)
            part = []
            world.start(*begins.pop(at_ms))
        part.append(one)
        last = n == len(came) - 1
        if last or (came[n + 1][0] > now_ms and cuts.random() < 0.02):
            world.take(part, now_ms)
            part = []
    return world


def test_outcomes_after_ten_days_promote_and_every_champion_since_must_be_beaten() -> None:
    """Invariant 5: weekly candidates whose outcomes come after ten days are proven, each against all since it began."""
    world = play(late(4_000, 10), {11: 0.3, 15: 0.6, 19: 1.0}, World(), Random(0))
    assert [world.fate(n) for n in range(3)] == [Decision.PROVEN] * 3
    assert [[one.champion for one in world.verdicts[n].against] for n in range(3)] == [[0], [0, 1], [0, 1, 2]]
    assert all(one.log_wealth >= world.verdicts[1].log_needed for one in world.verdicts[1].against)
    assert world.verdicts[0].days < 13
    assert world.verdicts[0].waiting > 500


def test_a_candidate_worse_than_a_new_champion_is_given_up() -> None:
    world = play(late(4_000, 10), {11: 1.0, 13: 0.3}, World(), Random(0))
    assert [world.fate(n) for n in range(2)] == [Decision.PROVEN, Decision.FUTILE]
    assert [one.champion for one in world.verdicts[1].against] == [0, 1]


@given(st.integers(0, 2**32 - 1))
@settings(max_examples=5, deadline=None)
def test_verdicts_do_not_depend_on_how_the_log_is_cut(seed: int) -> None:
    """Invariant 3, but for the number of the commit, which a cut changes."""
    log, starts = late(2_400, 4), {5: 0.3, 7: 0.35, 9: 1.0}
    plain, cut = play(log, starts, World(), Random(1)), play(log, starts, World(), Random(seed))
    assert plain.verdicts.keys() == cut.verdicts.keys() == {0, 1, 2}
    for number, one in plain.verdicts.items():
        other = cut.verdicts[number]
        assert (one.decision, one.at_ms, one.samples, one.waiting) == (
            other.decision, other.at_ms, other.samples, other.waiting
        )  # fmt: skip
        assert one.log_wealth == pytest.approx(other.log_wealth, abs=1e-3)  # batches differ


def test_at_close_the_last_window_is_fresh_and_a_trial_does_not_wait_for_it() -> None:
    world = play(at_close(3_000, 3, 10), {12: 1.0}, World(CLOSE), Random(0), held_days=10)
    verdict = world.verdicts[0]
    assert verdict.decision is Decision.PROVEN
    assert verdict.days < 4  # predictions of before the candidate was made, whose labels came after it
    assert verdict.waiting == 0


def test_the_youngest_without_a_sample_makes_room_and_the_oldest_is_decided() -> None:
    policy = Promotion(candidates_a_year=10, drift_a_year=0, margin=0.0, trials=2)
    world = play(late(6_000, 20), {21: 0.5, 24: 0.6, 27: 0.7, 30: 1.0}, World(policy=policy), Random(0))
    assert [world.fate(n) for n in range(4)] == [
        Decision.PROVEN, Decision.OVERCROWDED, Decision.OVERCROWDED, Decision.PROVEN
    ]  # fmt: skip
    assert [world.verdicts[n].lost_to for n in (1, 2)] == [2, 3]


def test_a_champion_is_no_candidate() -> None:
    world = play(late(1_000, 0.1), {2: 1.0}, World(), Random(0))
    assert world.fate(0) is Decision.PROVEN
    world.start(1, 1.0, key="0")
    assert world.fate(1) is Decision.SAME
    world.start(2, 0.9, key="other")
    world.start(3, 0.9, key="other")
    assert world.fate(2) is world.fate(3) is None


def test_two_equal_candidates_are_one_champion() -> None:
    world = World()
    log = late(2_000, 0.1)
    world.take(log[:200], log[199].label_t)
    world.start(0, 1.0, key="twin")
    world.start(1, 1.0, key="twin")
    world.take(log[200:], log[-1].label_t)
    assert [world.fate(n) for n in range(2)] == [Decision.PROVEN, Decision.SAME]


def test_a_years_candidates_are_as_many_as_share_the_level() -> None:
    policy = Promotion(candidates_a_year=2, drift_a_year=0, margin=0.0, trials=9, other_a_year=1)
    world = World(policy=policy)
    log = late(200, 0.1)
    world.take(log, log[-1].label_t)
    for n, kind in enumerate([Kind.REFRESH, Kind.REFRESH, Kind.REFRESH, Kind.OTHER, Kind.OTHER]):
        world.start(n, 0.5, kind=kind)
    assert [world.fate(n) for n in range(5)] == [None, None, Decision.OVER_BUDGET, None, Decision.OVER_BUDGET]
    until_ms = world.verdicts[2].until_ms
    assert until_ms == log[-1].label_t + 364 * DAY_MS
    world.take([], until_ms)
    world.start(5, 0.5)
    assert world.fate(5) is None


def test_another_recipe_must_also_last() -> None:
    """It needs weeks, where a refresh needs days."""
    log = late(6_000, 0.1)
    fates = {}
    for kind in Kind:
        world = World()
        world.take(log[:300], log[299].label_t)
        world.start(0, 1.0, kind=kind)
        world.take(log[300:], log[-1].label_t)
        fates[kind] = world.verdicts[0]
    assert {one.decision for one in fates.values()} == {Decision.PROVEN}
    assert fates[Kind.REFRESH].days < 5 < 10 < fates[Kind.OTHER].days < 40
    (against,) = fates[Kind.OTHER].against
    assert against.log_lasting >= fates[Kind.OTHER].log_needed


def test_a_commit_of_old_predictions_alone_is_no_sample() -> None:
    world, log = World(), late(400, 0.1)
    world.take(log[100:300], log[299].label_t)
    world.start(0, 0.5)
    world.take(log[:100], log[299].label_t)
    world.take(log[300:], log[-1].label_t)
    (trial,) = world.judge.trials.all
    assert trial.samples == 0  # the day is not whole


def test_a_model_is_neither_better_nor_worse_than_itself() -> None:
    """Invariant 11: at a margin of 0 nothing is proven, nor the opposite."""
    torch.manual_seed(0)
    world = World()
    log = late(2_000, 0.1)
    world.take(log[:300], log[299].label_t)
    world.start(0, 0.0)
    world.take(log[300:], log[-1].label_t)
    (trial,) = world.judge.trials.all
    assert trial.least.log_wealth == trial.least.log_against == 0


def test_a_resumed_evaluator_comes_to_where_the_first_one_was() -> None:
    """Invariant 8: it takes the log again, with the verdicts that there are, also where it would judge otherwise."""
    log, starts = late(3_000, 4), {5: 0.3, 7: 0.35, 9: 1.0}
    first = play(log, starts, World(), Random(1))
    again = play(log, starts, World(known=first.verdicts), Random(1))
    assert again.verdicts == first.verdicts
    assert again.judge.trials.champion.key == first.judge.trials.champion.key
    other = msgspec.structs.replace(first.verdicts[0], decision=Decision.FUTILE)
    changed = play(log, starts, World(known=first.verdicts | {0: other}), Random(1))
    assert changed.fate(0) is Decision.FUTILE
    assert changed.judge.trials.champion.version == first.judge.trials.champion.version - 1


@pytest.mark.parametrize(
    ("a_day", "days", "policy", "said"),
    [
        (100, 1, Promotion(), None),
        (10, 1, Promotion(), "for at most 60 days, by 603 samples at 10.1 a day"),
        (100, 39, Promotion(), "of 52 a year about 36 will be decided. Set Promotion.trials = 6, or every_days = 11"),
        (100, 39, Promotion(trials=6), None),
    ],
)
def test_a_feed_in_which_little_can_be_proven_is_doubted(
    a_day: int, days: float, policy: Promotion, said: str | None
) -> None:
    world = World(policy=policy)
    log = [one for one in late(200, days, a_day) if one.kind != WAITING]
    world.take(log, log[-1].label_t)
    doubt = world.judge.doubt
    assert doubt == said or (doubt and said and said in doubt)


def vetoes(candidate: "Breaks", policy: Promotion) -> Verdict:
    """Return the verdict on a candidate of 300 predictions, after all others; it may break during its test."""
    world, log = World(policy=policy), late(2_000, 0.1)
    world.take(log[:300], log[299].label_t)
    world.end(world.judge.start(Entry(0, "0", Kind.REFRESH, world.judge.reach_ms), candidate))
    candidate.broken = candidate.broken or candidate.breaks
    for at in range(300, 2_000, 100):
        world.take(log[at : at + 100], log[at + 99].label_t)
    return world.verdicts[0]


class Breaks(Scaled):
    """Answers the truth, and no numbers while it is broken."""

    def __init__(self, *, breaks: bool = False, broken: bool = False) -> None:
        super().__init__(1.0)
        self.breaks, self.broken = breaks, broken

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) * (math.nan if self.broken else 1.0)


def test_what_is_proven_and_breaks_a_guard_rail_does_not_serve() -> None:
    reports = list[TrialReport]()

    def strict(report: TrialReport) -> str | None:
        reports.append(report)
        return f"{len(report.rows)} rows of {report.candidate}"

    def careless(report: TrialReport) -> str | None:
        raise ValueError(f"v{report.champion} is\nunknown")

    def generous(report: TrialReport) -> str | None:
        return None

    policy = Promotion(candidates_a_year=10, margin=0.0, guards=[generous])
    passed = vetoes(Breaks(), policy)
    assert passed.decision is Decision.PROVEN
    assert [one.name for one in passed.guards] == [
        "finite", "constant", "latency", "drift", "change", "calibration", "generous"
    ]  # fmt: skip
    said = {strict: "strict: 700 rows of 0", careless: "careless: raised ValueError: v0 is unknown"}
    for own, why in said.items():
        verdict = vetoes(Breaks(), Promotion(candidates_a_year=10, margin=0.0, guards=[own]))
        assert verdict.decision is Decision.VETOED
        assert vetoed(verdict.guards) == why
    (report,) = reports
    assert report.labels.shape == report.ours[:, 0].shape == report.theirs[:, 0].shape == (700,)
    assert report.against.gain > 0


@pytest.mark.parametrize("in_test", [False, True])
def test_a_candidate_whose_outputs_are_not_finite_is_vetoed_before_its_test_or_in_it(in_test: bool) -> None:
    verdict = vetoes(Breaks(breaks=in_test, broken=not in_test), POLICY)
    assert verdict.decision is Decision.VETOED
    assert "outputs are not finite" in vetoed(verdict.guards)
    assert (verdict.days > 0) is in_test
    assert msgspec.json.decode(msgspec.json.encode(verdict), type=Verdict) == verdict  # nothing is NaN


def test_a_contestant_that_has_answered_nothing_yet_has_no_first_bound() -> None:
    """As where another one is proven by a commit with which its trial begins."""
    asked, entries = Asked(Final(0, None)), late(3, 0.1)
    asked.add(entries, {"one": np.zeros((len(entries), 1))})
    until_ms = entries[-1].t + DAY_MS
    ours, theirs = asked.look(until_ms, until_ms).before(until_ms, "one", "newcomer")
    assert ours.shape == theirs.shape == (0, 1)
