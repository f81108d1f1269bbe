"""The pool: who answers and learns what, when; over simulated feeds whose news is early or late."""

import heapq
import math
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby
from typing import Any, NamedTuple

import msgspec
import numpy as np
import pytest
import torch
from torch import Tensor

from learners.live.change import Change
from learners.live.compiled import Doubles
from learners.live.experts.checked import Checked
from learners.live.features.fields import fields_of
from learners.live.features.reader import Reader
from learners.live.held import Asked, Census, Heard, Told, Unsaid, Waits
from learners.live.mixtures.mixture import Mixture
from learners.live.news import AGES_MS, DAY_MS
from learners.live.pool import Pool, chain_ages
from learners.live.recent import Recent

HOUR_MS = DAY_MS // 24


Event = Told | Waits | Heard | Census


class Row(msgspec.Struct, frozen=True):
    """One number, of which the experts know what they answer."""

    x: float


class Says:
    """An expert that multiplies x, and keeps what it is taught."""

    def __init__(self, *factors: float) -> None:
        self.names = tuple(f"times {factor}" for factor in factors)
        self.factors, self.taught = factors, list[tuple[float, float]]()

    def answer(self, rows: Sequence[Any]) -> Doubles:
        return np.array([[factor * row.x for factor in self.factors] for row in rows])

    def learn(self, rows: Sequence[Any], labels: Doubles, weights: Doubles) -> None:
        self.taught += [(row.x, label) for row, label in zip(rows, labels.tolist(), strict=True)]

    def state(self) -> dict[str, Tensor]:
        return {"taught": torch.tensor(self.taught, dtype=torch.float64).reshape(-1, 2)}

    def load(self, state: Mapping[str, Tensor]) -> None:
        self.taught = [(x, label) for x, label in state["taught"].tolist()]


class SaysLate(Says):
    """The same as a chain. It keeps (x, mark, label), and the weights."""

    def __init__(self, factor: float) -> None:
        super().__init__(factor)
        self.marks, self.weights = list[tuple[float, int, float]](), list[float]()

    @property
    def ready(self) -> bool:
        return len(self.marks) > 50

    def waited(self, rows: Sequence[Any], marks: Any, outcomes: Doubles, weights: Doubles, t_ms: Any) -> None:
        self.weights += weights.tolist()
        self.marks += [
            (row.x, mark, label) for row, mark, label in zip(rows, marks.tolist(), outcomes.tolist(), strict=True)
        ]

    def changes(self, *, whole: bool) -> dict[str, Tensor]:
        return {}

    def follow(self, changes: Mapping[str, Tensor]) -> None:
        """Nothing changes."""

    def state(self) -> dict[str, Tensor]:
        weights = torch.tensor(self.weights, dtype=torch.float64)
        return {"marks": torch.tensor(self.marks, dtype=torch.float64).reshape(-1, 3), "weights": weights}

    def load(self, state: Mapping[str, Tensor]) -> None:
        self.marks = [(x, int(mark), label) for x, mark, label in state["marks"].tolist()]
        self.weights = state["weights"].tolist()


class Feed(NamedTuple):
    """Predictions, an hour apart, or `at_once` of them together, and what came of them when."""

    x: Doubles
    labels: Doubles
    delays_ms: list[int]
    at_once: int = 1


def feed(n: int, delay_ms: float, *, by_label: float = 1.0) -> Feed:
    """Labels with logit x; delays are exponential, those of a label 1 times `by_label`."""
    draw = np.random.default_rng(0)
    x = draw.normal(0, 1.5, n)
    labels = (draw.random(n) < 1 / (1 + np.exp(-x))).astype(float)
    delays = draw.exponential(delay_ms, n) * np.where(labels > 0, by_label, 1.0)
    return Feed(x, labels, delays.astype(int).tolist())


def pool(chain: SaysLate | None = None) -> tuple[Pool, Says, SaysLate]:
    """Return a pool of one expert of two columns, and a chain for the second."""
    expert, late = Says(1.0, -1.0), chain or SaysLate(1.0)
    reader = Reader(fields_of(Row))
    change, recent = Change(Row, reader), Recent(reader)
    return Pool(Row, [Checked(lambda: expert, 0)], late, recent, change=change, watched="times -1.0"), expert, late


def log(live: Pool, given: Feed) -> Iterator[Event]:
    """Ask all, an hour apart, and yield what is told of them in order; a deep part says −x."""
    queue: list[tuple[int, int, int, Event]] = []
    for n, x in enumerate(given.x.tolist()):
        t_ms = n // given.at_once * HOUR_MS
        while queue and queue[0][0] < t_ms:
            yield heapq.heappop(queue)[-1]
        yield Census(t_ms - 1, n, AGES_MS[-1])
        said, answer = live.answer([Row(x)], np.array([-x]))
        asked = Asked(str(n), t_ms, Row(x), tuple(said[0].tolist()), float(answer[0]))
        delay_ms = given.delays_ms[n]
        heapq.heappush(queue, (t_ms + delay_ms, n, -1, Told(asked, t_ms + delay_ms, float(given.labels[n]))))
        for mark, age_ms in enumerate(chain_ages(AGES_MS)):
            if age_ms < delay_ms:
                heapq.heappush(queue, (t_ms + age_ms, n, mark, Waits(asked, t_ms + age_ms, mark)))
    while queue:
        event = heapq.heappop(queue)[-1]
        yield event
        yield Census(event.at_ms, len(given.x), AGES_MS[-1])


def follow(live: Pool, given: Feed, *, until_ms: float = np.inf) -> None:
    """Let the pool ask and learn, event by event."""
    for event in log(live, given):
        if event.at_ms > until_ms:
            return
        live.learn([event])


def sigmoid(z: float) -> float:
    return 1 / (1 + math.exp(-z))


def answer(live: Pool, x: float) -> float:
    return float(sigmoid(live.answer([Row(x)], np.array([-x]))[1][0]))


def test_before_news_the_deep_part_answers_alone() -> None:
    live, _, _ = pool()
    assert answer(live, 2.0) == pytest.approx(1 / (1 + np.exp(2.0)))
    assert live.answer([Row(2.0)], np.array([np.nan]))[1][0] == pytest.approx(0)  # without one: 2 and −2


def test_where_news_is_early_all_learn_at_once() -> None:
    live, expert, chain = pool()
    given = feed(1_000, 2 * HOUR_MS)
    follow(live, given)
    assert not live.late
    assert "within 6 hours: live experts learn each at once" in live.line
    assert len(expert.taught) == 1_000
    assert not chain.marks
    assert np.isnan(live.answer([Row(1.0)], np.array([0.0]))[0][0, 4])
    assert answer(live, 2.0) > 0.7  # the mixture found out who is right


def test_outcomes_that_nobody_is_told_count_as_news_and_teach_nothing() -> None:
    live, expert, _ = pool()
    for event in log(live, feed(1_000, 2 * HOUR_MS)):
        held = isinstance(event, Told) and int(event.asked.id) % 2
        live.learn([Unsaid(event.asked.t_ms, event.at_ms) if held else event])  # type: ignore[union-attr]
    assert not live.late
    assert "within 6 hours" in live.line
    assert len(expert.taught) == 500


def test_where_news_is_late_the_chain_stands_in_and_lessons_wait() -> None:
    live, expert, chain = pool()
    given = feed(3_000, 4 * DAY_MS)
    follow(live, given, until_ms=2_000 * HOUR_MS)
    assert live.late
    assert "days: live experts learn predictions of that age" in live.line
    assert live.news.k80_ms
    oldest = 2_000 * HOUR_MS - live.news.k80_ms
    old = {x for n, x in enumerate(given.x.tolist()) if n * HOUR_MS > oldest}
    assert not old & {x for x, _ in expert.taught[-200:]}
    assert {mark for _, mark, _ in chain.marks} >= set(range(5))
    assert answer(live, 2.0) > 0.7


def test_the_chain_learns_an_outcome_once_at_the_end_of_its_age() -> None:
    live, _, chain = pool()
    given = feed(2_000, 3 * DAY_MS)
    follow(live, given)
    ages = chain_ages(AGES_MS)
    for n in range(1_000, 1_100):  # after it is known to be late
        marks = [(mark, label) for x, mark, label in chain.marks if x == given.x[n]]
        last = next(mark for mark, age in enumerate(ages) if age >= given.delays_ms[n])
        assert [mark for mark, _ in marks] == list(range(last + 1))
        assert all(np.isnan(label) for _, label in marks[:-1])
        assert marks[-1][1] == given.labels[n]


@pytest.mark.parametrize("told_in", ["order", "days"])
def test_whoever_waits_may_be_told_after_later_outcomes_and_is_learned_in_order(told_in: str) -> None:
    """The join tells of who waits when its watermark passes: a day's outcomes have come by then."""
    given, known = feed(2_000, 3 * DAY_MS), 30 * DAY_MS
    events: list[Event] = [one for one in log(pool()[0], given) if isinstance(one, Census) and one.at_ms < known]
    told: list[Event] = [one for one in log(pool()[0], given) if not isinstance(one, Census)]
    events += [one for one in told if one.at_ms < known]
    events = sorted(events, key=lambda one: one.at_ms)
    later = [one for one in told if one.at_ms >= known]
    if told_in == "days":
        later.sort(key=lambda one: (one.at_ms // DAY_MS, isinstance(one, Waits)))
    live, _, chain = pool()
    live.learn(events)
    assert live.late
    before = len(chain.marks)
    for day, of in groupby(later, key=lambda one: one.at_ms // DAY_MS):
        live.learn(of)
        live.learn([Heard((day + 1) * DAY_MS - 1)])
    due = [given.x.tolist().index(x) * HOUR_MS + chain_ages(AGES_MS)[mark] for x, mark, _ in chain.marks[before:]]
    assert len(due) > 2_000
    assert due == sorted(due)


@pytest.mark.parametrize("apart_ms", [0, 200])
def test_equal_rows_asked_within_a_second_count_as_the_root_of_their_number(apart_ms: int) -> None:
    """A group's bookings come one after the other; some are told before, and some after, the others pass a mark."""
    live, _, chain = pool()
    follow(live, feed(400, 3 * DAY_MS))
    assert live.late
    before = len(chain.marks)
    t_ms, logits = 1_000 * HOUR_MS, (0.0,) * len(live.names)
    rows = [Row(1.0)] * 4 + [Row(2.0)]
    asked = [Asked(f"group-{n}", t_ms + n * apart_ms, row, logits) for n, row in enumerate(rows)]
    moment = t_ms + chain_ages(AGES_MS)[0]
    told: list[Event] = [Told(asked[0], moment - HOUR_MS, 1.0)]
    told += [Waits(one, moment + n * apart_ms, 0) for n, one in enumerate(asked[1:], 1)]
    live.learn([*told, Census(moment + 1_001, 405, AGES_MS[-1])])
    found = zip(chain.marks[before:], chain.weights[before:], strict=True)
    assert [(x, label, weight) for (x, mark, label), weight in found if mark == 0][-5:] == [
        (1.0, pytest.approx(math.nan, nan_ok=True), 0.5),
        (1.0, pytest.approx(math.nan, nan_ok=True), 0.5),
        (1.0, pytest.approx(math.nan, nan_ok=True), 0.5),
        (2.0, pytest.approx(math.nan, nan_ok=True), 1.0),
        (1.0, 1.0, 0.5),  # what waits comes first
    ]


class Watched(Mixture):
    """A mixture that says what it was told."""

    def learn(self, logits: Doubles, labels: Doubles, weights: Doubles, bets: Doubles | None = None) -> None:
        assert bets is not None
        self.told = [*getattr(self, "told", []), *zip(weights.tolist(), bets.tolist(), strict=True)]


@pytest.mark.parametrize(("delay_ms", "apart_ms"), [(3 * DAY_MS, 0), (3 * DAY_MS, 200), (2 * HOUR_MS, 0)])
def test_late_evidence_bets_less_as_equal_rows_and_of_young_experts(delay_ms: int, apart_ms: int) -> None:
    live, _, _ = pool()
    follow(live, feed(400, delay_ms))
    assert live.late is (delay_ms > DAY_MS)
    live.mixture = watched = Watched([1.0] * len(live.names))
    t_ms, logits = 1_000 * HOUR_MS, (0.0,) * len(live.names)
    rows = [Row(1.0)] * 4 + [Row(2.0)]
    asked = [Asked(f"group-{n}", t_ms + n * apart_ms, row, logits) for n, row in enumerate(rows)]
    live.learn([Told(one, t_ms + (n + 1) * HOUR_MS // 8, 1.0) for n, one in enumerate(asked)])
    assert live.news.k80_ms
    due_ms = t_ms + live.news.k80_ms
    live.learn([Census(due_ms + n, 405, AGES_MS[-1]) for n in (0, 500, 1_001)])
    assert [weight for weight, _ in watched.told[-5:]] == [1.0] * 5
    share = t_ms / due_ms if live.late else 1.0  # from the first news on, which was at 0
    expected = [share / 2] * 4 + [share] if live.late else [1.0] * 5
    assert [bet for _, bet in watched.told[-5:]] == pytest.approx(expected, rel=1e-3)


def test_an_answer_without_the_deep_part_is_no_evidence() -> None:
    live, expert, _ = pool()
    before = live.mixture.state()
    for event in log(live, feed(1_000, 2 * HOUR_MS)):
        if isinstance(event, Told):
            event = event._replace(asked=event.asked._replace(logits=(math.nan, *event.asked.logits[1:])))
        live.learn([event])
    assert live.news.known
    assert len(expert.taught) == 1_000
    assert all(value.equal(before[name]) for name, value in live.mixture.state().items())


@pytest.mark.parametrize("by_label", [0.05, 20.0])
def test_evidence_is_not_biased_by_the_order_of_arrival(by_label: float) -> None:
    """Positives come twenty times as soon, or as late; an expert that is right must not look wrong meanwhile."""
    live, _, _ = pool()
    follow(live, feed(3_000, 5 * DAY_MS, by_label=by_label), until_ms=3_000 * HOUR_MS)
    mean = np.mean([answer(live, x) for x in np.random.default_rng(1).normal(0, 1.5, 500)])
    assert 0.42 < mean < 0.58


def test_what_corrects_a_negative_is_one_more_outcome_of_the_window_s_end() -> None:
    live, expert, chain = pool()
    follow(live, feed(3_000, 4 * DAY_MS), until_ms=2_000 * HOUR_MS)
    live.learn([Census(2_000 * HOUR_MS, 2_000, 10 * DAY_MS)])
    taught, marks, counted = len(expert.taught), len(chain.marks), live.news.state()
    asked = Asked("late", 1_500 * HOUR_MS, Row(7.5), (0.0,) * len(live.names))
    live.learn([Told(asked, 2_000 * HOUR_MS, 1.0, again=True)])
    assert expert.taught[taught:] == [(7.5, 1.0)]
    assert [one for one in chain.marks[marks:] if one[0] == 7.5] == [(7.5, mark_of(10 * DAY_MS), 1.0)]
    assert all(torch.equal(now, counted[name]) for name, now in live.news.state().items())


def mark_of(age_ms: int) -> int:
    return next(mark for mark, age in enumerate(chain_ages(AGES_MS)) if age >= age_ms)


@pytest.mark.parametrize("delay_ms", [2 * HOUR_MS, 4 * DAY_MS])
def test_a_saved_state_goes_on_as_the_one_that_was_not(delay_ms: int) -> None:
    given = feed(700, delay_ms)
    events = list(log(pool()[0], given))
    live, _, _ = pool()
    live.learn(events[:2_500])
    other, _, _ = pool()
    other.load(live.state())
    for one in (live, other):
        one.learn(events[2_500:])
    assert_same(live, other)


def test_a_state_of_before_the_marks_had_a_queue_of_their_own_goes_on() -> None:
    given = feed(700, 4 * DAY_MS)
    events = list(log(pool()[0], given))
    live, _, _ = pool()
    live.learn(events[:2_500])
    old = live.state()
    order, waiting = msgspec.msgpack.decode(old.pop("waiting.queue").numpy().tobytes())
    _, held = msgspec.msgpack.decode(old["held.queue"].numpy().tobytes())
    assert waiting
    old["held.queue"] = torch.frombuffer(bytearray(msgspec.msgpack.encode([order, held + waiting])), dtype=torch.uint8)
    other, _, _ = pool()
    other.load(old)
    for one in (live, other):
        one.learn(events[2_500:])
    ours, theirs = live.state(), other.state()
    for name in ours:
        assert name.endswith("queue") or ours[name].numpy().tobytes() == theirs[name].numpy().tobytes()
    assert len(live.waiting) == len(other.waiting)


def assert_same(one: Pool, other: Pool) -> None:
    """Compare whole states, bit for bit."""
    ours, theirs = one.state(), other.state()
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        assert value.numpy().tobytes() == theirs[name].numpy().tobytes(), name
