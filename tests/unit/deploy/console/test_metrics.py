"""What Prometheus is told: its own parser reads it, every name is documented, what is not there is not told."""

import math
import re
from pathlib import Path

import msgspec
from hypothesis import given
from hypothesis import strategies as some
from prometheus_client.parser import text_string_to_metric_families

from deploy.console.metrics.families import BOTH, MEANINGS, RUN
from deploy.console.metrics.text import text
from deploy.monitor import counted
from deploy.registry.freshness import Ages, FreshNote
from deploy.registry.notes import MetricName, Metrics, Row
from deploy.registry.pulse import PulseNote, RolePulse
from deploy.run.view import COUNTED, JoinView
from tests.unit.deploy.console.views import champion, shard, view

PAGE = Path(__file__).parents[4] / "docs" / "production.md"
AGES = Ages(count=3, p50_ms=120.0, p99_ms=900.0, upto_ms=[128.0], counts=[3])
ROLES = [
    RolePulse(role="server", host="a", pid=7, starts=2),
    RolePulse(role='le"arn\\er', host="b\n", pid=8, waits_for="the store", waits_s=4.5, trouble="waits"),
]
WHOLE: dict[str, object] = {
    "counters": counted([shard(waiting=3, joined=4, rejected=1)]),
    "freshness": FreshNote(live=AGES, weights=AGES),
    "pulse": PulseNote(roles=ROLES, requests_unread=5, outcomes_unread=6, commit_s=1.5, trouble=("a", "b")),
    "pulse_s": 0.25,
    "trouble": ("a", "b"),
    "held": ["one"],
}
JOINED = JoinView(
    feed="offers", at_ms=9_000, lag_ms=1_500, events=4, rejected=1, samples=1, unread=1, ahead=0, seconds=0.0,
    **dict.fromkeys(COUNTED, 2),  # type: ignore[arg-type]
)  # fmt: skip


def read(told: str) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    """Return what Prometheus' own parser reads: each sample under its name and its labels."""
    return {
        (one.name, frozenset(one.labels.items())): one.value
        for family in text_string_to_metric_families(told)
        for one in family.samples
    }


def test_a_whole_look_is_told_under_every_name() -> None:
    samples = read(text("flights", view(**WHOLE)))
    assert {name for name, _ in samples} == set(MEANINGS)
    assert all(("feed", "flights") in labels for _, labels in samples)

    def value(name: str, /, **labels: str) -> float:
        return samples[f"shadowstream_{name}", frozenset({"feed": "flights", **labels}.items())]

    assert (value("up"), value("version"), value("join_waiting"), value("join_joined_total")) == (1, 1, 3, 4)
    assert (value("requests_unread"), value("commit_age_seconds"), value("run_silent_seconds")) == (5, 1.5, 0.25)
    assert (value("join_lag_seconds"), value("run_trouble"), value("join_held_partitions")) == (2_700, 2, 1)
    assert value("role_starts_total", role="server", host="a") == 2
    assert value("role_waits_seconds", role='le"arn\\er', host="b\n") == 4.5
    assert value("role_trouble", role="server", host="a") == 0
    assert value("metric", model="served", name="AUC") == 0.7102
    assert value("measured_total", model="served") == 21_408
    assert value("freshness_seconds", by="live", quantile="0.99") == 0.9
    assert (value("promotions_total"), value("rollbacks_total"), value("candidates_total")) == (1, 0, 4)


def test_a_canary_is_no_version_that_answers_all() -> None:
    share = msgspec.structs.replace(champion(2, 1), share=0.1)
    told = text("flights", view(champions=[champion(0, None), champion(1, 0), share]))
    assert 'shadowstream_version{feed="flights"} 1' in told
    assert 'shadowstream_canary_share{feed="flights"} 0.1' in told


def test_what_is_not_there_is_not_told() -> None:
    assert read(text("flights", None)) == {("shadowstream_up", frozenset({("feed", "flights")})): 0}
    bare = view(champions=[], candidates=[], metrics=None, trials=(), verdicts={})
    names = {name for name, _ in read(text("flights", bare))}
    assert "shadowstream_version" not in names
    assert "shadowstream_metric" not in names
    assert "shadowstream_requests_unread" not in names
    assert "shadowstream_promotions_total" in names
    joined = read(text("offers", JOINED))
    assert {name for name, _ in joined} <= {"shadowstream_up", *(one.name for one in BOTH)}
    assert joined["shadowstream_join_lag_seconds", frozenset({("feed", "offers")})] == 1.5
    assert joined["shadowstream_join_rejected_total", frozenset({("feed", "offers")})] == 1


@given(some.floats(), some.text(max_size=20), some.text(max_size=20))
def test_any_name_and_any_number_is_read_as_it_was(value: float, model: str, name: str) -> None:
    measured = Metrics((MetricName(name, ""),), {model: Row(1, {name: value})}, {})
    found = read(text("flights", view(metrics=measured)))
    of = found["shadowstream_metric", frozenset({("feed", "flights"), ("model", model), ("name", name)})]
    assert of == value or (math.isnan(of) and math.isnan(value))


def test_names_are_prometheus_own_kind() -> None:
    kinds = {one.name: one.kind for one in BOTH} | {one.name: one.kind for one in RUN}
    assert len(kinds) == len(BOTH) + len(RUN)
    for name, kind in kinds.items():
        assert re.fullmatch(r"shadowstream_[a-z_]+", name)
        assert (kind == "counter") == name.endswith("_total")


def test_every_name_is_documented_with_what_it_means() -> None:
    rows = dict(re.findall(r"^\| `(shadowstream_\w+)` \| (.*) \|$", PAGE.read_text(encoding="utf-8"), re.MULTILINE))
    assert rows == MEANINGS
