"""What other policies would have decided on what a run has recorded, or on events alone.

Owns finding the record or the events, and comparing what follows with what the run decided. Does not know tables.
"""

from collections.abc import Callable, Sequence, Set
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from deploy import pipeline as pipelines
from deploy.backtest import shares
from deploy.backtest.decided import Decided, Span
from deploy.backtest.events import Events, between, of_files, of_topics
from deploy.backtest.learned import Learned, learned
from deploy.backtest.policies import Policy, read
from deploy.config import Settings, Topics
from deploy.embedded.services import embedded_addresses, with_embedded
from deploy.loading import users_code
from deploy.operate.registry.sign import opened
from deploy.operate.versions.lineage import time_ms
from deploy.pipeline import Pipeline
from deploy.registry.candidates import gone
from deploy.registry.kinds import CANDIDATES, ORDERS, VERDICTS
from deploy.registry.opening import open_registry
from deploy.registry.registry import Registry
from deploy.registry.reigns import syncs, versions
from deploy.registry.storage.home import home
from learners.evaluation.verdict import Verdict
from streams.errors import ConfigError
from streams.hosts import shown

LATENCY = "latency"  # a guard rail
Say = Callable[[str], None]  # takes what happens, a line each
OURS = "pipeline"  # the name of the pipeline's own policy


class Backtest(Struct, frozen=True, kw_only=True):
    """What each policy comes to, the first of which is the pipeline's own.

    `commits` of the record were taken, up to the event time `until_ms`; what is counted came after `since_ms`, if that
    was given. `loss` names the task's loss. `otherwise`: the
    candidates on which the pipeline's own policy decides otherwise than the record has it, `same`: on how many not.
    `gone`: those that no policy can judge, as they have no artifact any more.
    `orders` of people and `syncs` are on record, and are left out: where there are syncs, other answers were served,
    and a candidate's fate alone is compared. `events` says what became of events, where they were learned.
    """

    feed: str
    commits: int
    until_ms: int
    since_ms: int | None = None
    loss: str
    same: int
    otherwise: list[int]
    gone: list[int]
    orders: int
    policies: list[Decided]
    events: Learned | None = None
    syncs: int = 0


def backtest(
    path: Path, settings: Settings, files: Sequence[Path], since: str | None = None, to: str | None = None
) -> Backtest:
    """Return what the policies of these files, and the pipeline's own, decide on the record, up to a time.

    They decide from its beginning on; what comes of that is counted `since` a time. Nothing is written, and no service
    is asked.

    Raises:
        ConfigError: nothing is on record, a time is none, a policy cannot be read or would need other candidates.
        RegistryError: a record is missing, or no trusted key has signed it.
    """
    span, pipeline = _span(since, to), pipelines.load(path)
    policies = [Policy(OURS, {}), *read(files, pipeline.promotion)]
    registry = opened(path, settings)
    found = shares.decide(path, settings, registry.home, policies, span)
    return _told(pipeline.name, found, registry, span.from_ms)


def on_events(
    path: Path, settings: Settings, files: Sequence[Path], given: tuple[Path, Path] | None,
    since: str | None = None, to: str | None = None, *, say: Say,
) -> Backtest:  # fmt: skip
    """Return the same of events: of the two files of requests and outcomes that are `given`, else of Kafka's topics.

    Events between the two times are learned as in a replay, beginning with the history; topics are read from their
    starts to where they end now. Broker, store and registry of the pipeline are left as they are. `say` takes lines.

    Raises:
        ConfigError: as `backtest`, or a file cannot be read, a topic is missing, or nothing could be learned.
        Unreachable: the broker does not answer.
    """
    span, pipeline = _span(since, to), pipelines.load(path)
    policies = [Policy(OURS, {}), *read(files, pipeline.promotion)]
    with users_code(str(path)):
        events = of_files(pipeline, settings, *given) if given else of_topics(pipeline, _addressed(pipeline, settings))
    events = between(events, span.from_ms, span.to_ms)
    _check_some(settings.topics.named(pipeline.name), events, given, span)
    say(f"{len(events.happened):,} events")
    with learned(path, pipeline, settings, events, say) as (at, ours, counts):
        found = shares.decide(path, ours, at, policies, Span())
        return replace(_told(pipeline.name, found, open_registry(at), None), events=counts)


def _check_some(topics: Topics, events: Events, given: tuple[Path, Path] | None, span: Span) -> None:
    """Check that there are requests and outcomes.

    Raises:
        ConfigError: there are none of one of the two.
    """
    there, named = {one.record.topic for one in events.happened}, (topics.requests, topics.outcomes)
    for what, topic, place in zip(("requests", "outcomes"), named, given or named, strict=True):
        if topic not in there:
            when = "" if span == Span() else " between --from and --to"
            raise ConfigError(f"there are no {what} in {place}{when}: both are needed, requests first")


def _addressed(pipeline: Pipeline, settings: Settings) -> Settings:
    """Return the settings with the address of the broker, which a run may have embedded.

    Raises:
        ConfigError: there is none.
    """
    found = with_embedded(settings, embedded_addresses(home(settings.registry.path, pipeline.name).folder))
    if found.kafka.bootstrap is None:
        raise ConfigError("--kafka needs a broker: set kafka.bootstrap, or give --events REQUESTS OUTCOMES, two files")
    return found


def _told(feed: str, found: Sequence[Decided], registry: Registry, since_ms: int | None) -> Backtest:
    without, last, left_out = gone(registry), found[0].commit, syncs(versions(registry))
    same, otherwise = compared(found[0].verdicts, last, registry, without, synced=left_out > 0)
    return Backtest(
        feed=feed,
        commits=last + 1,
        until_ms=found[0].until_ms,
        since_ms=since_ms,
        loss=found[0].loss,
        same=same,
        otherwise=otherwise,
        gone=[one.number for one in registry.records(CANDIDATES) if one.number in without and one.commit <= last],
        orders=registry.last(ORDERS) + 1,
        syncs=left_out,
        policies=list(found),
    )


def _span(since: str | None, to: str | None) -> Span:
    """Return the span between two times as a user writes them.

    Raises:
        ConfigError: one is no time, or the first is not before the second.
    """
    span = Span(_time(since, "--from"), _time(to, "--to"))
    if span.from_ms is not None and span.to_ms is not None and span.from_ms >= span.to_ms:
        raise ConfigError(f"--from {shown(since)} is not before --to {shown(to)}")
    return span


def _time(given: str | None, option: str) -> int | None:
    found = None if given is None else time_ms(given)
    if given is not None and found is None:
        raise ConfigError(f"{option} must be a time: ISO 8601, or ms since 1970; found {shown(given)}")
    return found


def compared(
    ours: Sequence[Verdict], commit: int, registry: Registry, without: Set[int], *, synced: bool
) -> tuple[int, list[int]]:
    """Return on how many candidates the verdict is the record's, and on which it is not, but for those `without`.

    Verdicts are `ours` up to a commit. Of a record with syncs the decisions are compared.
    """
    told: Callable[[Verdict], object] = (lambda verdict: verdict.decision) if synced else _lasting
    made = {verdict.candidate: told(verdict) for verdict in ours}
    kept = (
        registry.record(VERDICTS, number) for number in range(registry.last(CANDIDATES) + 1) if number not in without
    )
    there = {verdict.candidate: told(verdict) for verdict in kept if verdict and verdict.commit <= commit}
    otherwise = sorted(number for number in made.keys() | there.keys() if made.get(number) != there.get(number))
    return len(there.keys() - set(otherwise)), otherwise


def _lasting(verdict: Verdict) -> Verdict:
    """Return a verdict without the time that the models took, which is another at each look."""
    return replace(verdict, guards=tuple(guard for guard in verdict.guards if guard.name != LATENCY))
