"""What Prometheus is told of a feed: each name, what it means, and where it is in a look.

Owns these names. The join's counters are those of `deploy/registry/kinds.py`. Does not know how they are written or
fetched.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from typing import Generic, Literal, NamedTuple, TypeVar

from deploy.monitor import View
from deploy.registry.freshness import Ages
from deploy.registry.kinds import COUNTERS, PARTITION_COUNTERS, REJECTED_PARTS
from deploy.registry.pulse import RolePulse
from deploy.registry.reigns import base, promotions, syncs
from deploy.run.view import JoinView

PREFIX = "shadowstream"
UP = f"{PREFIX}_up"
UP_MEANS = "1 where the feed's store and registry answered this look, else 0, and nothing else is told"
NOW = ("waiting", "early")  # counters that go up and down
OFFSETS = {name: PARTITION_COUNTERS[name] for name in ("records", "rejected", "holes", "lost")}
Seen = View | JoinView
Labels = dict[str, str]
Samples = Iterable[tuple[Labels, float | None]]
L = TypeVar("L")


class Family(NamedTuple, Generic[L]):
    """A metric: its name, its kind, what it means, and its samples in a look; a value None is left out."""

    name: str
    kind: Literal["gauge", "counter"]
    means: str
    of: Callable[[L], Samples]


def _gauge(name: str, means: str, of: Callable[[L], float | None]) -> Family[L]:
    return Family(f"{PREFIX}_{name}", "gauge", means, lambda look: [({}, of(look))])


def _counter(name: str, means: str, of: Callable[[L], float | None]) -> Family[L]:
    return Family(f"{PREFIX}_{name}_total", "counter", means, lambda look: [({}, of(look))])


def _count(name: str, look: Seen) -> float | None:
    return look.counters.get(name)


def _roles(of: Callable[[RolePulse], float], view: View) -> Samples:
    roles = view.pulse.roles if view.pulse else []
    return [({"role": one.role, "host": one.host}, of(one)) for one in roles]


def _models(value: bool, view: View) -> Iterator[tuple[Labels, float | None]]:
    for model, row in (view.metrics.total if view.metrics else {}).items():
        if not value:
            yield {"model": model}, row.count
            continue
        for name, measured in row.values.items():
            yield {"model": model, "name": name}, measured


def _ages(view: View) -> Iterator[tuple[Labels, float | None]]:
    if view.freshness is None:
        return
    both: Sequence[tuple[str, Ages | None]] = (("live", view.freshness.live), ("weights", view.freshness.weights))
    for by, ages in both:
        if ages:
            yield {"by": by, "quantile": "0.5"}, ages.p50_ms / 1_000
            yield {"by": by, "quantile": "0.99"}, ages.p99_ms / 1_000


def _role(name: str, kind: Literal["gauge", "counter"], means: str, of: Callable[[RolePulse], float]) -> Family[View]:
    return Family(f"{PREFIX}_role_{name}", kind, means, partial(_roles, of))


BOTH: tuple[Family[Seen], ...] = (
    *(
        (_gauge if name in NOW else _counter)(f"join_{name}", means, partial(_count, name))
        for name, means in (COUNTERS | OFFSETS | REJECTED_PARTS).items()
    ),
    _gauge("join_lag_seconds", "how far the watermark lags the newest event, in event time", lambda o: o.lag_ms / 1e3),
    _gauge("join_held_partitions", "partitions that an open transaction holds", lambda o: len(o.held)),
    _gauge("samples_unread", "samples that are not learned yet, or not written", lambda o: o.unread),
    _gauge("warnings", "what must be wrong with the events, as `status` says it", lambda o: len(o.warnings)),
)
RUN: tuple[Family[View], ...] = (
    _gauge("run_silent_seconds", "how old the run's newest word is; it has one a second", lambda o: o.pulse_s),
    _gauge("run_trouble", "services and roles that are waited for, as `status` lists them", lambda o: len(o.trouble)),
    _gauge("requests_unread", "requests in the log that wait for the server",
           lambda o: o.pulse.requests_unread if o.pulse else None),
    _gauge("outcomes_unread", "outcomes in the log that wait for the joiners",
           lambda o: o.pulse.outcomes_unread if o.pulse else None),
    _gauge("commit_age_seconds", "how long ago the run saw a new commit",
           lambda o: o.pulse.commit_s if o.pulse else None),
    _role("starts_total", "counter", "how often the role was started again", lambda one: one.starts),
    _role("waits_seconds", "gauge", "how long it has waited for a service; 0 where it waits for none",
          lambda one: one.waits_s if one.waits_for else 0.0),
    _role("trouble", "gauge", "1 where `status` has a line about it", lambda one: float(bool(one.trouble))),
    _counter("answered", "requests that were answered since the server began", lambda o: o.served),
    _counter("refused", "requests that became dead letters since the server began", lambda o: o.refused),
    _counter("learned", "samples in the learner's weights", lambda o: o.learned),
    _gauge("version", "the version that answers, but for a canary's share",
           lambda o: base(o.champions).number if o.champions else None),
    _gauge("canary_share", "the share of the requests that a canary answers",
           lambda o: o.champions[-1].share if o.champions and o.champions[-1] is not base(o.champions) else 0.0),
    _counter("candidates", "candidates that were distilled", lambda o: len(o.candidates)),
    _counter("promotions", "versions that brought a candidate's artifact, and answered all requests",
             lambda o: promotions(o.champions) if o.champions else 0),
    _counter("syncs", "versions that are the shadow's average, untested, in a tested version's place",
             lambda o: syncs(o.champions)),
    _counter("rollbacks", "versions that brought an earlier version's artifact back",
             lambda o: sum(one.back_to is not None for one in o.champions)),
    _counter("alarms", "how often what serves was seen to be worse, broken, or not what torch computes",
             lambda o: len(o.alarms)),
    _gauge("trials", "candidates that are being tested", lambda o: len(o.trials)),
    _gauge("waits_for_person", "1 where what is proven, or seen, waits for a person", lambda o: float(bool(o.waits))),
    _gauge("held_sources", "sources whose outcomes are held", lambda o: len(o.distrusted)),
    _gauge("changed_fields", "fields that have changed, answers among them", lambda o: len(o.drift)),
    Family(f"{PREFIX}_measured_total", "counter", "samples on which a model was measured", partial(_models, False)),
    Family(f"{PREFIX}_metric", "gauge", "the task's metrics by model, over all samples", partial(_models, True)),
    Family(f"{PREFIX}_freshness_seconds", "gauge", "how long after its arrival an outcome was known to a prediction, "
           "since the server began, by the live experts (`live`) and by a version (`weights`)", _ages),
)  # fmt: skip
MEANINGS = {UP: UP_MEANS} | {one.name: one.means for one in BOTH} | {one.name: one.means for one in RUN}


def told(look: Seen) -> Iterator[tuple[str, str, str, Samples]]:
    """Yield each family that a look has: its name, its kind, what it means, and its samples."""
    for both in BOTH:
        yield both.name, both.kind, both.means, both.of(look)
    if isinstance(look, View):
        for one in RUN:
            yield one.name, one.kind, one.means, one.of(look)
