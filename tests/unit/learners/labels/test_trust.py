"""Running trust: a forging source is held, an honest one never, a changed one is free again by itself."""

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from msgspec import Raw

from learners.labels.make import running_trust
from learners.labels.running import RunningTrust, excess
from learners.labels.settings import Trust
from learners.labels.trust import RATE, USUAL
from learners.tasks.binary import Binary
from learners.tasks.classes import Classes
from streams.errors import ConfigError
from streams.events import WAITING, Prediction, Sample

HOUR_MS = 3_600_000
SPEC = Trust(source="partner", hold_days=1_000)


class Row(msgspec.Struct):
    partner: str
    x: float


@dataclass
class World:
    """Samples ten minutes apart, answered by their true chances; `forged` turns labels."""

    forged: Callable[[int, Row], bool] = lambda at, row: False

    def samples(self, n: int, seed: int = 0) -> tuple[list[Sample], list[Row]]:
        random, samples, rows = np.random.default_rng(seed), [], []
        for at in range(n):
            row = Row("abcd"[random.integers(4)], float(random.normal()))
            label = random.random() < 1 / (1 + math.exp(-2 * row.x))
            t_ms = at * HOUR_MS // 6
            asked = Prediction(str(at), t_ms, 0, (2 * row.x,), (0.0,), 0, Raw(msgspec.json.encode(row)))
            samples.append(Sample(str(at), "joined", 0, t_ms, float(label != self.forged(at, row)), t_ms, asked))
            rows.append(row)
        return samples, rows


def trust(spec: Trust = SPEC) -> RunningTrust:
    return running_trust(spec, Binary(), Row)


def forging(at: int, row: Row) -> bool:
    return at >= 4_000 and row.partner == "b"


def bits(one: RunningTrust) -> dict[str, Any]:
    return {name: tensor.tolist() for name, tensor in one.state().items()}


def holds(one: RunningTrust, samples: list[Sample], rows: list[Any]) -> dict[int, str]:
    return {hold.at: hold.source for hold in one.follow(samples, rows)}


@pytest.mark.parametrize("spec", [SPEC, Trust()])
def test_honest_sources_are_never_held(spec: Trust) -> None:
    assert not holds(trust(spec), *World().samples(20_000))


def test_a_forging_source_is_held_alone_and_soon() -> None:
    samples, rows = World(forging).samples(8_000)
    held = holds(trust(), samples, rows)
    assert set(held.values()) == {"b"}
    assert 4_000 < min(held) < 5_000
    missed = [at for at, row in enumerate(rows) if at >= min(held) and row.partner == "b" and at not in held]
    assert not missed


def test_what_lasts_less_than_the_days_of_doubt_is_no_forgery() -> None:
    world = World(lambda at, row: 4_000 <= at < 4_800 and row.partner == "b")
    assert not holds(trust(Trust(source="partner", doubt_days=20)), *world.samples(8_000))
    assert holds(trust(Trust(source="partner", doubt_days=0)), *world.samples(8_000))


def test_a_range_that_is_forged_is_found_where_no_source_is_named() -> None:
    spec = Trust(hold_days=1_000)
    samples, rows = World(lambda at, row: at >= 9_000 and row.x > 1.2).samples(30_000)
    held = holds(trust(spec), samples, rows)
    assert held
    assert all(source.startswith("x from 1.") for source in held.values())
    forged = [at for at in range(24_000, 30_000) if rows[at].x > 1.2]
    assert sum(at in held for at in forged) > 0.7 * len(forged)


def test_a_source_that_agrees_again_is_free_again() -> None:
    world = World(lambda at, row: 4_000 <= at < 6_000 and row.partner == "b")
    held = holds(trust(), *world.samples(12_000))
    assert 6_000 < max(held) < 9_500


def test_a_hold_that_nobody_judges_ends_and_the_next_one_is_twice_as_long() -> None:
    one = trust(Trust(source="partner", hold_days=10))
    held = sorted(holds(one, *World(forging).samples(18_000)))
    gaps = [(last, at) for last, at in pairwise(held) if at - last > 200]
    day = 24 * 6
    assert 9 * day < gaps[0][0] - held[0] < 11 * day
    assert 19 * day < gaps[1][0] - gaps[0][1] < 21 * day


def test_what_a_person_says_counts_until_the_next_word() -> None:
    one, (samples, rows) = trust(), World(forging).samples(9_000)
    assert one.follow(samples[:5_000], rows[:5_000])
    one.rule("b", "release")
    assert not one.follow(samples[5_000:5_020], rows[5_000:5_020])
    one.rule("b", "drop")
    held = {hold.at for hold in one.follow(samples[5_020:], rows[5_020:])}
    assert held == {at for at, row in enumerate(rows[5_020:]) if row.partner == "b"}


def test_marks_of_a_held_source_are_held_and_count_for_nothing() -> None:
    one, (samples, rows) = trust(), World(forging).samples(6_000)
    one.follow(samples, rows)
    mark = msgspec.structs.replace(samples[0], kind=WAITING)
    before = bits(one)
    assert [hold.source for hold in one.follow([mark, mark], [Row("a", 0.0), Row("b", 0.0)])] == ["b"]
    assert bits(one) == before


def test_more_than_ten_times_a_sources_usual_number_is_held_however_it_comes() -> None:
    spec = Trust(source="partner", most_usual=10)
    samples, rows = World().samples(20 * 24 * 6)
    last = samples[-1]
    burst = [msgspec.structs.replace(last, id=f"burst {at}") for at in range(2_000)]
    one = trust(spec)
    assert not one.follow(samples, rows)
    held = one.follow(burst, [Row("b", 0.0)] * 1_000 + [Row("new", 0.0)] * 1_000)
    assert {(hold.source, hold.why) for hold in held} == {("b", USUAL)}  # of a new one nobody knows what is usual
    assert 1_000 - len(held) <= 10 * 40
    assert 1_000 - len(held) >= 10 * 30
    assert not one.held
    one.rule("b", "release")
    assert not one.follow(burst[:100], [Row("b", 0.0)] * 100)


def test_a_source_that_reports_once_a_week_keeps_within_ten_times_its_usual_number() -> None:
    one = trust(Trust(source="partner", most_usual=10))
    samples, _ = World().samples(20 * 7 * 24 * 6)
    weekly = [sample for at, sample in enumerate(samples) if at // (24 * 6) % 7 == 3 for _ in range(4)]
    assert not one.follow(weekly, [Row("b", 0.0)] * len(weekly))


def test_a_rate_holds_what_is_more_in_an_hour() -> None:
    one, (samples, rows) = trust(Trust(source="partner", most_per_hour=10)), World().samples(400)
    at_once = [msgspec.structs.replace(one, label_t=0) for one in samples]
    held = one.follow(at_once, rows)
    assert {hold.why for hold in held} == {RATE}
    assert len(samples) - len(held) == 4 * 10
    later = [msgspec.structs.replace(one, label_t=HOUR_MS) for one in samples]
    assert len(samples) - len(one.follow(later, rows)) == 4 * 10


@pytest.mark.parametrize("spec", [SPEC, Trust()])
def test_equal_events_make_equal_states_however_they_are_cut_and_through_a_load(spec: Trust) -> None:
    samples, rows = World(forging).samples(6_000)
    whole, parts = trust(spec), trust(spec)
    held = [hold.at for hold in whole.follow(samples, rows)]
    found: list[int] = []
    for start in range(0, 6_000, 700):
        after = trust(spec)
        after.load(parts.state())
        found += [start + hold.at for hold in after.follow(samples[start : start + 700], rows[start : start + 700])]
        parts = after
    assert found == held
    assert bits(whole) == bits(parts)


def test_a_state_that_an_earlier_release_wrote_goes_on_with_what_it_held() -> None:
    source = {"excess": 0.4, "n": 700, "turns_n": 3, "since_ms": 5, "until_ms": 1 << 50, "holds": 1, "agreed": 20}
    old = {"sources": {"b": source}, "seen": 900, "now_ms": 10, "of": {}, "doubts": {"b": 30}}
    one, (samples, rows) = trust(), World().samples(400)
    one.load({"trust": torch.frombuffer(bytearray(msgspec.msgpack.encode(old)), dtype=torch.uint8)})
    assert (set(one.held), one.seen, one.doubts) == ({"b"}, 900, {"b": 30})
    assert set(holds(one, samples[:30], rows[:30]).values()) == {"b"}


def test_what_was_learned_since_a_held_source_last_agreed_is_in_doubt_until_it_is_settled() -> None:
    one, (samples, rows) = trust(), World(forging).samples(6_000)
    first = min(hold.at for hold in one.follow(samples, rows))
    assert set(one.doubts) == {"b"}
    since = one.doubts["b"]
    assert 3_000 < since < 4_200 < first
    assert one.doubted(Row("b", 0.0), since) == one.doubted(Row("b", 0.0), one.seen) == "b"
    assert one.doubted(Row("b", 0.0), since - 1) is one.doubted(Row("a", 0.0), since) is None
    again = trust()
    again.load(one.state())
    assert again.doubts == one.doubts
    again.settle()
    assert again.doubted(Row("b", 0.0), one.seen) is None
    assert again.held.keys() == {"b"}


def test_a_doubt_goes_back_to_the_last_word_of_a_person_at_most() -> None:
    one, (samples, rows) = trust(), World(forging).samples(9_000)
    one.follow(samples[:5_000], rows[:5_000])
    one.settle()
    one.rule("b", "release")
    one.follow(samples[5_000:], rows[5_000:])
    assert one.doubts["b"] >= 5_000


def test_excess_has_the_mean_zero_under_chances_that_are_right() -> None:
    def mean(task: Any, served: tuple[float, ...], chances: Iterable[float]) -> float:
        asked = Prediction("a", 0, 0, served, (0.0,) * len(served), 0, Raw(b"{}"))
        of = (excess(task, Sample("a", "joined", 0, 0, float(k), 0, asked)) for k in range(max(2, len(served))))
        return sum(p * x for p, x in zip(chances, of, strict=True))

    p = 1 / (1 + math.exp(-1.5))
    assert abs(mean(Binary(), (1.5,), (1 - p, p))) < 1e-12
    assert mean(Binary(), (1.5,), (p, 1 - p)) > 0.5
    z = (0.3, -1.0, 2.0)
    total = sum(map(math.exp, z))
    assert abs(mean(Classes(3), z, [math.exp(one) / total for one in z])) < 1e-12


def test_settings_that_cannot_be_are_refused_by_name() -> None:
    for wrong, text in (({"memory": 0}, "memory"), ({"limit": -1}, "limit"), ({"most_per_hour": 0}, "most_per_hour")):
        with pytest.raises(ConfigError, match=text):
            Trust(**wrong)  # type: ignore[arg-type]
