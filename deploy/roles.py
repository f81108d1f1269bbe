"""The six roles, each put together from its parts: the one place that knows what every role needs.

Owns the wiring. Does not know where a role runs: actors.py gives each a process.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from msgspec import Struct

from deploy.champion import Served
from deploy.conductor import ConductorRole
from deploy.config import Settings
from deploy.distiller import DistillerRole, make_learner
from deploy.evaluator import EvaluatorRole
from deploy.learner import CommitRules, LearnerRole
from deploy.pipeline import Pipeline
from deploy.registry import Registry
from deploy.server import ServerRole
from streams.batch import Readers
from streams.dead import DeadLetters
from streams.events import Outcome, Record, read_prediction
from streams.joiner import Joiner
from streams.kafka import Sink, Source, Tp
from streams.store import Store


class Role(Protocol):
    """One role's work, cut into steps; all that it must not lose lies outside of it."""

    def step(self, block_ms: int) -> bool | int:
        """Do what there is to do, waiting at most `block_ms` for it; returns whether there was anything."""
        ...


class Plan(Struct, frozen=True, kw_only=True):
    """Where everything is: addresses resolved, embedded services started."""

    pipeline: Path
    settings: Settings
    bootstrap: str
    store: str
    registry: Path
    fetch_wait_ms: int


def build(role: str, plan: Plan, pipeline: Pipeline) -> Role:
    """Put a role together; it reads where it stands from the store and the registry."""
    return ROLES[role](plan, pipeline)


def partitions(topic: str, plan: Plan) -> list[Tp]:
    """Give the topic's partitions."""
    return [Tp(topic, partition) for partition in range(plan.settings.topics.partitions)]


def _server(plan: Plan, pipeline: Pipeline) -> Role:
    topics = plan.settings.topics.named(pipeline.name)
    registry = Registry(plan.registry)
    source = Source(
        plan.bootstrap,
        partitions(topics.requests, plan),
        group=f"{pipeline.name}.server",
        fetch_wait_ms=plan.fetch_wait_ms,
    )
    for tp, offset in source.committed().items():
        source.seek(tp, offset)
    sink = Sink(plan.bootstrap)
    dead = DeadLetters(Sink(plan.bootstrap), topics.dead)
    champion = Served(registry, pipeline.model)
    store = Store(plan.store)
    return ServerRole(pipeline, topics.predictions, champion, source, sink, dead, store, plan.settings.serve.max_batch)


def _joiner(plan: Plan, pipeline: Pipeline) -> Role:
    topics = plan.settings.topics.named(pipeline.name)
    tps = partitions(topics.predictions, plan) + partitions(topics.outcomes, plan)
    source = Source(plan.bootstrap, tps, fetch_wait_ms=plan.fetch_wait_ms)
    readers = Readers(
        predictions=topics.predictions,
        outcomes=topics.outcomes,
        dead_letters=topics.dead,
        prediction=lambda record: read_prediction(record.value),
        outcome=_checked(pipeline),
    )
    return Joiner(pipeline.name, plan.settings.join, source, Store(plan.store), Sink(plan.bootstrap), readers)


def _checked(pipeline: Pipeline) -> Callable[[Record], Outcome]:
    def read(record: Record) -> Outcome:
        outcome = pipeline.outcome(record)
        pipeline.task.check(outcome.label)
        return outcome

    return read


def _learner(plan: Plan, pipeline: Pipeline) -> Role:
    learn = plan.settings.learn
    rules = CommitRules(learn.commit_samples, learn.commit_s, pipeline.promotion.every_days)
    registry, shards = Registry(plan.registry), plan.settings.join.shards
    return LearnerRole(pipeline.name, shards, Store(plan.store), registry, make_learner(pipeline), rules)


def _distiller(plan: Plan, pipeline: Pipeline) -> Role:
    return DistillerRole(pipeline, Store(plan.store), Registry(plan.registry))


def _evaluator(plan: Plan, pipeline: Pipeline) -> Role:
    window_ms = int(plan.settings.join.window_s * 1000)
    return EvaluatorRole(pipeline, window_ms, Store(plan.store), Registry(plan.registry))


def _conductor(plan: Plan, pipeline: Pipeline) -> Role:
    return ConductorRole(pipeline.name, Store(plan.store), Registry(plan.registry))


ROLES: dict[str, Callable[[Plan, Pipeline], Role]] = {
    "server": _server,
    "joiner": _joiner,
    "learner": _learner,
    "distiller": _distiller,
    "evaluator": _evaluator,
    "conductor": _conductor,
}
