"""The roles, each built from its parts: the one file that knows what every role needs.

Owns the wiring. Does not know where a role runs: `deploy/processes/actors/system.py` starts a process for each.
"""

from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Protocol

import msgspec
from msgspec import Struct

from deploy.config import Settings
from deploy.learning.candidates import make_learner
from deploy.learning.distiller import DistillerRole
from deploy.learning.learner import LearnerRole
from deploy.learning.rules import CommitRules
from deploy.learning.syncs import Syncs
from deploy.lineages import Lineages
from deploy.pipeline import Pipeline
from deploy.processes.clients import Clients
from deploy.processes.nodes.code import FOLDER
from deploy.promotion.conductor import ConductorRole
from deploy.promotion.evaluator import EvaluatorRole
from deploy.registry.kinds import ASKED, BROKEN, LEARNER, SYNC, TOLD, is_server, server_names
from deploy.registry.notes import BrokenNote, SyncNote
from deploy.registry.opening import open_registry
from deploy.registry.registry import Registry
from deploy.registry.storage.home import Where, at, home
from deploy.serving.champion import Served
from deploy.serving.owed import Owed
from deploy.serving.server import Answers, ServerRole
from deploy.serving.share import Order, Requests, Share, servers_group
from learners.evaluation.trials.timing import Timing
from streams.dead import DeadLetters
from streams.join.joiner import Quiet
from streams.kafka import Tp

JOINER_PREFIX = "joiner-"
PATIENCE_S = 0.25


class Role(Protocol):
    """A role's work in steps. It keeps nothing that it must not lose: that is in the store, the log or the registry."""

    def step(self, block_ms: int) -> bool | int:
        """Do what there is to do, or wait up to `block_ms` for some; return whether there was anything."""
        ...


class Plan(Struct, frozen=True, kw_only=True):
    """What a role's process needs to know.

    `pipeline` is the path of the pipeline.py, `registry` where the feed is kept. The settings have every address, also
    those of embedded services. A fetch that finds nothing waits at the broker for `fetch_wait_ms` at most. In a
    `replay` all who publish ring on the board. `carried` says that a role may be on a cluster's node, which has
    the code in its working directory; `detached`, that roles outlive the process that starts them.
    """

    pipeline: Path
    settings: Settings
    registry: Where
    fetch_wait_ms: int
    replay: bool = False
    carried: bool = False
    detached: bool = False

    def on_node(self) -> "Plan":
        """Return the plan as the process of a role takes it, by its working directory."""
        if not self.carried:
            return self
        where = at(self.registry)
        mine = where if where.local else home(self.settings.registry.path, where.name)
        return msgspec.structs.replace(self, pipeline=Path(FOLDER) / self.pipeline.name, registry=mine)

    @property
    def opened(self) -> Registry:
        """The feed's registry."""
        return open_registry(self.registry, self.settings.registry.key, self.settings.registry.trusted)


def build(role: str, plan: Plan, pipeline: Pipeline, stack: ExitStack, share: Share | None = None) -> Role:
    """Build a role, which goes on from what the store, the log and the registry hold; `stack` closes its clients.

    A server has the request partitions of its `share`, by default all.
    """
    clients = Clients(plan.settings, plan.fetch_wait_ms, stack, rings=plan.replay)
    made = build_on(clients, role, plan, pipeline, share)
    if isinstance(made, EvaluatorRole):
        stack.callback(made.keep)
    if isinstance(made, LearnerRole):  # after an error it holds what no commit leads to
        stack.push(lambda error, *_: made.keep() if error is None else None)
    return made


def build_on(clients: Clients, role: str, plan: Plan, pipeline: Pipeline, share: Share | None = None) -> Role:
    """Build a role on these clients, as `build` does."""
    if role.startswith(JOINER_PREFIX):
        return _joiner(clients, plan, pipeline, int(role.removeprefix(JOINER_PREFIX)))
    return _server(clients, plan, pipeline, role, share) if is_server(role) else ROLES[role](clients, plan, pipeline)


def names(settings: Settings) -> list[str]:
    """Return the names of a feed's roles, each of which gets a process: the joiners by number, then the others."""
    joiners = [f"{JOINER_PREFIX}{n}" for n in range(settings.join.joiners)]
    return [*joiners, *server_names(settings.serve.servers), *ROLES]


def _server(clients: Clients, plan: Plan, pipeline: Pipeline, name: str, share: Share | None) -> Role:
    serve, topics = plan.settings.serve, plan.settings.topics.named(pipeline.name)
    registry = plan.opened
    counts = clients.partitions((topics.requests, topics.predictions))
    requests = _partitions(topics.requests, counts)
    store = clients.store(PATIENCE_S)  # a store that hangs must not hold an answer back
    wait = partial(store.doze, pipeline.name, (ASKED.name,))
    source, positions = clients.source(requests, wait), clients.positions(servers_group(pipeline.name), topics.requests)
    mine = Requests(topics.requests, source, positions, share or Share(Order(0, frozenset(range(len(requests))))))
    to = Answers(topics.predictions, counts[topics.predictions], clients.sink())
    dead = DeadLetters(clients.sink(), topics.dead, max(1, plan.settings.dead.most_per_minute // serve.servers))
    lineages = Lineages(pipeline, registry, engines=serve.engines)
    champion = Served(registry, pipeline.model, engines=serve.engines, lineages=lineages)
    guarded = not plan.replay  # by the clock, so that what a replay makes would depend on the machine
    return ServerRole(pipeline, champion, mine, to, dead, store, serve.max_batch, name, guarded=guarded)


def _joiner(clients: Clients, plan: Plan, pipeline: Pipeline, number: int) -> Role:
    store, topics = clients.store(), plan.settings.topics.named(pipeline.name)
    tps = [Tp(*tp) for tp in store.partitions(pipeline.name)]
    mine = [tp for tp in tps if tp.partition % plan.settings.join.joiners == number]

    def ages_ms() -> Sequence[int] | None:
        note = LEARNER.read(*store.get(pipeline.name, LEARNER.name))
        return note.marks_ms if note else None

    after = (*server_names(plan.settings.serve.servers), TOLD.name)
    counts = clients.partitions((topics.requests, topics.predictions))
    positions = clients.positions(servers_group(pipeline.name), topics.requests)
    requests = clients.source(_partitions(topics.requests, counts))
    owed = Owed(requests, positions, topics.predictions, counts[topics.predictions])
    return clients.joiner(pipeline.as_feed(), mine, store, ages_ms, after, quiet(tps, owed, replays=plan.replay))


def quiet(tps: Sequence[Tp], owed: Quiet, *, replays: bool) -> Quiet:
    """Return what says whether a silent partition is idle.

    In a replay none is, where each topic has one: the next slice is owed, however long the machine takes for this one.
    One of several may get nothing of a slice, and must not hold the watermark back.
    """
    several = len({tp.topic for tp in tps}) < len(tps)
    return (lambda tp: None) if replays and not several else owed


def _partitions(topic: str, counts: Mapping[str, int]) -> list[Tp]:
    return [Tp(topic, partition) for partition in range(counts[topic])]


def _learner(clients: Clients, plan: Plan, pipeline: Pipeline) -> Role:
    learn = plan.settings.learn
    promotion = pipeline.promotion
    rules = CommitRules(
        learn.commit_samples, learn.commit_s, promotion.every_days, promotion.drift_a_year, learn.relearn_s
    )
    registry, shards = plan.opened, plan.settings.join.shards
    learner, window_ms = make_learner(pipeline, registry), round(plan.settings.join.window_s * 1_000)
    marks_ms = Timing.of(plan.settings.join).marks_ms
    syncs = Syncs(pipeline, registry, learner) if promotion.sync_ms else None
    return LearnerRole(pipeline.name, shards, clients.store(), registry, learner, rules, window_ms, marks_ms, syncs)


def _distiller(clients: Clients, plan: Plan, pipeline: Pipeline) -> Role:
    return DistillerRole(pipeline, clients.store(), plan.opened, engines=plan.settings.serve.engines)


def _evaluator(clients: Clients, plan: Plan, pipeline: Pipeline) -> Role:
    timing = Timing.of(plan.settings.join)
    registry, engines = plan.opened, plan.settings.serve.engines
    return EvaluatorRole(pipeline, timing, clients.store(), registry, engines=engines)


def _conductor(clients: Clients, plan: Plan, pipeline: Pipeline) -> Role:
    store = clients.store()

    def broken() -> BrokenNote | None:
        return BROKEN.read(*store.get(pipeline.name, BROKEN.name))

    def average() -> SyncNote | None:
        return SYNC.read(*store.get(pipeline.name, SYNC.name))

    return ConductorRole(pipeline.name, store, plan.opened, pipeline.promotion, broken, average)


ROLES: dict[str, Callable[[Clients, Plan, Pipeline], Role]] = {
    "learner": _learner,
    "distiller": _distiller,
    "evaluator": _evaluator,
    "conductor": _conductor,
}
