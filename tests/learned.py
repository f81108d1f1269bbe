"""A feed of the small pipeline on a real store, learned by a real learner role; its log is a list, so that it can be
joined from any position again. Some of its samples are poison.

Owns joining the list, taking a shard back in time, and what must hold at the end.
"""

import hashlib
import multiprocessing
import os
import secrets
import shutil
import signal
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import count
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any
from zlib import crc32

import msgspec
import torch
from msgspec import Raw
from redis import Redis
from torch import Tensor

from compressors.form import weights
from compressors.quantization.layers import mask_name
from compressors.recipe import Distill, Prune, Quantize, Recipe
from deploy.learning.bootstrap import bootstrap
from deploy.learning.candidates import make_learner
from deploy.learning.learner import LearnerRole
from deploy.learning.rules import CommitRules
from deploy.pipeline import Pipeline
from deploy.registry import learned as audit
from deploy.registry.commits import backwards
from deploy.registry.commits import read as read_commit
from deploy.registry.kinds import COMMITS
from deploy.registry.rebuild import check as check_rebuild
from deploy.registry.rebuild import rebuild
from deploy.registry.registry import Registry
from deploy.registry.states.kept import Kept
from deploy.registry.states.names import listed
from deploy.run.restore import restore
from learners.commits import commit as encoded
from learners.commits.commit import Commit
from learners.commits.state import pack_state
from streams.audit.equations import audit as joined
from streams.events import Sample
from streams.join.policy import JoinPolicy
from streams.join.step import Move, Rules, ShardState, Step, outcome_entry, prediction_entry, recent
from streams.join.store import Store
from streams.outputs.samples import number
from tests import small

NUMBERS = count()
FORKS = multiprocessing.get_context("forkserver")  # which imports torch once for all its processes
FORKS.set_forkserver_preload([__name__])
TPS = [("p", 0), ("o", 0)]
BAD, LARGE, DEADLY = 666.0, 3e38, 13.0  # the encoder raises; the loss is not finite; the process dies
NEVER = 1e9
PATIENCE_S = 300.0  # against a hang alone


def encode(points: Sequence[Any]) -> tuple[Tensor, ...]:
    for point in points:
        if point.x[0] == BAD:
            raise ValueError("the devil is in the details")
        if point.x[0] == DEADLY:
            os.kill(os.getpid(), signal.SIGKILL)
    return small.encode(points)


ONLINE = replace(small.pipeline.online, batch=16, refresh_every=40, refresh_share=0.3)
RECIPE = Recipe(Prune(amount=0.6, scope="layer"), Quantize("int8"), Distill())
PIPELINE = replace(small.pipeline, encode=encode, online=ONLINE, recipe=RECIPE)


def spoilt(sample: Sample, x: float) -> Sample:
    """Return the sample with poisonous features."""
    features = Raw(msgspec.json.encode(small.Point((x, x, 0.0, 0.0))))
    return msgspec.structs.replace(sample, prediction=msgspec.structs.replace(sample.prediction, features=features))


def begun(folder: Path, pipeline: Pipeline = PIPELINE) -> Path:
    """Make a registry with the first version, to be copied."""
    assert bootstrap(pipeline, Registry(folder))
    return folder


class Feed:
    """One feed: its log, its registry (a copy of `first`) and its shards."""

    def __init__(
        self,
        store: Store,
        first: Path,
        folder: Path,
        log: list[Sample],
        shards: int = 1,
        pipeline: Pipeline = PIPELINE,
    ) -> None:
        shutil.copytree(first, folder)
        self.store, self.registry, self.log = store, Registry(folder), log
        self.pipeline = replace(pipeline, name=f"learned-{next(NUMBERS)}")
        self.name = self.pipeline.name
        self.policy = JoinPolicy(shards=shards, window_s=NEVER, keep_s=NEVER, max_ahead_s=NEVER)
        self.ages_ms: Sequence[int] = ()
        self.lag = self.arrived_ms = 0
        store.create(self.name, shards, TPS)

    @property
    def states(self) -> list[ShardState]:
        return [self.store.shard(self.name, shard) for shard in range(self.policy.shards)]

    def learner(self, samples: int = 20, every_days: float = NEVER, drift_a_year: int = 0) -> LearnerRole:
        """Start a learner that commits after so many samples."""
        rules = CommitRules(samples, NEVER, every_days, drift_a_year)
        learner = make_learner(self.pipeline)
        return LearnerRole(self.name, self.policy.shards, self.store, self.registry, learner, rules)

    def process(self, address: str) -> ForkServerProcess:
        """Start a learner in a process of its own."""
        args = (address, self.pipeline, self.policy.shards, self.registry.folder)
        process = FORKS.Process(target=live, args=args)
        process.start()
        return process

    def join(self, shard: int = 0, most: int = 1_000_000) -> None:
        """Join the log's next predictions after the shard's last ones, then their outcomes, of which `lag` wait."""
        at = self.store.shard(self.name, shard).partitions
        asked, told = at["p:0"].next, at["o:0"].next
        end = min(asked + most, len(self.log))
        rules = Rules.of(self.policy).marking(self.ages_ms)
        step = Step(secrets.token_hex(8), rules, arrived_ms=self.arrived_ms)
        step.moves = [Move("p:0", asked, end), Move("o:0", told, max(told, end - self.lag), outcomes=1)]
        for which, move in enumerate(step.moves, 1):
            part = self.log[move.start : move.end]
            own = [one for one in part if crc32(one.id.encode()) % self.policy.shards == shard]
            for one in own:
                content = msgspec.json.encode(one.prediction).decode()
                prediction = prediction_entry(one.id, one.t, content, rules.window_ms)
                outcome = outcome_entry(one.id, one.label_t, str(one.label), rules.window_ms + rules.keep_ms)
                item, body = outcome if move.outcomes else prediction
                step.which.append(which)
                step.ids.append(one.id)
                step.times.append(one.label_t if move.outcomes else one.t)
                step.items.append(item)
                step.bodies.append(body)
            move.records = len(own)
            move.recent = recent([one.label_t if move.outcomes else one.t for one in part])
            move.t_ms = max(move.recent, default=-1)
        if any(move.end > move.start for move in step.moves):
            self.store.step(self.name, shard, step)

    def restore(self) -> dict[int, str]:
        """Do what `run` does at its start."""
        after = restore(self.store, self.registry, self.name, self.policy)
        self.store.create(self.name, self.policy.shards, TPS, after=after)
        return after

    def finish(self, role: LearnerRole) -> None:
        """Join and learn all, and commit it."""
        self.lag = 0
        role._rules = CommitRules(1, NEVER, NEVER)
        for shard in range(self.policy.shards):
            self.join(shard)
        while role.step(1):
            pass
        assert not role._draft.samples

    def check(self, role: LearnerRole, poison: Sequence[str] = ()) -> None:
        """Check that all was learned once, the equations hold, and any part of the commits leads to the state."""
        counted = audit.count_learned(self.registry)
        ids = [one.id for commit in backwards(self.registry) for one in commit.read()]
        assert sorted(ids) == sorted(one.id for one in self.log if one.id not in poison)
        assert sorted(audit.read_sample(one.sample).id for one in counted.quarantined) == sorted(poison)
        assert counted.doubled == 0
        states = self.states
        assert joined(states).holds
        for equation in audit.learned_equations(states, counted):
            assert equation.holds, equation
        self.check_rebuilt(role)

    def check_rebuilt(self, role: LearnerRole) -> None:
        """Check the live state against a rebuild from the first commit, and from each commit with a whole state."""
        role._states.settle()
        last, live = self.registry.last(COMMITS), pack_state(role._learner.state())
        for base in sorted({0, *(name.number for name in listed(self.registry.objects))}):
            learner = make_learner(self.pipeline)
            rebuild(learner, self.registry, last, base=base)
            assert pack_state(learner.state()) == live
        assert check_rebuild(make_learner(self.pipeline), self.registry).equal

    def check_refreshed(self, role: LearnerRole) -> None:
        """Check that the live masks differ from commit 0's, are as sparse, and are the same in shadow and average."""
        shadow, first = role._learner.shadow, self.state(0)
        for name, weight in weights(shadow.model).items():
            begun = first[f"shadow.model.{mask_name(name)}"]
            assert torch.equal(weight.mask, weights(shadow.mean)[name].mask)
            assert not torch.equal(weight.mask, begun)
            assert weight.mask.sum() == begun.sum()

    def state(self, commit: int) -> dict[str, Tensor]:
        """Return the whole state that is kept of a commit."""
        state = Kept(self.registry).of(read_commit(self.registry, commit))
        assert state is not None
        return state

    def check_parents(self) -> None:
        """Check that each commit names the checksum of the one before it."""
        parent = ""
        for n in range(self.registry.last(COMMITS) + 1):
            data = self.registry.read(COMMITS, n)
            assert data is not None
            assert encoded.decode(data).parent == parent
            parent = hashlib.sha256(data).hexdigest()

    def check_trim(self) -> None:
        """Check that no stream was trimmed beyond the newest commit, even if the store has gone back since."""
        newest = read_commit(self.registry, self.registry.last(COMMITS))
        for shard, position in newest.positions.items():
            state = self.store.shard(self.name, int(shard))
            assert state.seq - state.unread <= number(position)

    def check_position(self) -> None:
        """Check that every stream still has the position of the newest commit."""
        newest = read_commit(self.registry, self.registry.last(COMMITS))
        for shard, position in newest.positions.items():
            assert self.store.holds(self.name, int(shard), position)


Fed = Callable[..., Feed]


def commits(registry: Registry) -> list[Commit]:
    return [read_commit(registry, n) for n in range(registry.last(COMMITS) + 1)]


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def live(address: str, pipeline: Pipeline, shards: int, folder: Path) -> None:
    """Learn until killed, and commit every 20 samples."""
    torch.set_num_threads(1)
    rules = CommitRules(20, NEVER, NEVER)
    role = LearnerRole(pipeline.name, shards, Store(address), Registry(folder), make_learner(pipeline), rules)
    while True:
        role.step(5)


def snapshot(redis: Redis, feed: str, shard: int) -> dict[str, bytes | None]:
    """Keep a shard as it is."""
    return {key: redis.dump(key) for key in Store._keys(feed, shard)}


def put_back(redis: Redis, then: dict[str, bytes | None]) -> None:
    """Take a shard back to a snapshot."""
    redis.delete(*then)
    for key, data in then.items():
        if data is not None:
            redis.restore(key, 0, data)
