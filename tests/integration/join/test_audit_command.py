"""The audit of a join and its verifier, wherever the samples went."""

import json
from contextlib import ExitStack
from typing import Any

import msgspec
import pytest
from redis import Redis

from deploy.cli.commands import app
from deploy.operate.join.audit import inspect
from deploy.processes.worker import outputs
from deploy.registry import learned as audit
from deploy.registry.registry import Registry as Commits
from learners.commits.commit import Commit, Run
from streams.errors import ConfigError, Disagreement, HistoryChanged, LogReplaced, Unbalanced
from streams.join.step import Move, Step
from streams.join.store import Store
from streams.kafka.broker import Broker
from streams.outputs.writer import Writer
from streams.redis import Address
from tests.committed import append
from tests.integration.join.operated import PLACES, Make, World, audited, shards


class TestAudit:
    @pytest.mark.parametrize(("broker", "to"), PLACES, indirect=["broker"])
    def test_it_holds_and_the_verifier_agrees_wherever_the_samples_went(self, make: Make, to: str) -> None:
        world = make(partitions=2, shards=2, to=to)
        world.predict(*range(40), 3)
        world.report(*range(20), 5, 60)
        world.join(63)
        if to != "stream":
            with ExitStack() as stack:
                writer = Writer(world.attached.store, world.name, outputs(world.name, world.settings, stack))
                while any(world.attached.store.shard(world.name, n).unread for n in range(2)):
                    writer.step(10)
                    writer.flush()
            world.report(*range(20, 25))
            world.join(5)
        report = audited(world, waiting=3)
        assert (report["verdict"]["agreed"], report["verdict"]["explained"], report["verdict"]["differing"]) == (
            41,
            {},
            0,
        )
        begin = 20 if to == "stream" else 25
        assert [one[1] for one in report["waiting"]] == [f"id{n}" for n in range(begin, begin + 3)]
        assert [one["equation"]["left"] for one in report["audit"]["partitions"]] == [
            sum(at.records for at in (s.partitions[one["tp"]] for s in shards(world)))
            for one in report["audit"]["partitions"]
        ]

    @pytest.mark.parametrize("broker", ["embedded"], indirect=True)
    def test_a_sample_that_is_gone_is_named(self, make: Make, embedded_redis: Redis) -> None:
        world = make()
        world.predict(*range(40))
        world.report(*range(40))
        world.join(80)
        stream = f"{{{world.name}.0}}:s"
        entries: Any = embedded_redis.xrange(stream)
        embedded_redis.xdel(stream, entries[1][0])
        samples = len(entries[1][1]) - 1  # and a field that says when they had arrived
        with pytest.raises(Disagreement, match=f"{samples} differences") as ended:
            audited(world)
        assert ended.value.exit_code == 8

    @pytest.mark.parametrize("broker", ["embedded"], indirect=True)
    def test_an_equation_that_does_not_hold_has_its_exit_code(
        self, make: Make, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        world = make()
        world.predict(1)
        world.join(1)
        tp = f"{world.outcome_tps[0].topic}:0"
        world.attached.store.step(world.name, 0, Step("t", world.attached.rules, [Move(tp, 0, 1)]))
        monkeypatch.setattr("deploy.cli.operate.settings", lambda *_: world.settings)
        with pytest.raises(Unbalanced) as ended:
            app(["audit", str(world.path)], standalone_mode=False)
        assert (ended.value.exit_code, "✗ 1" in capsys.readouterr().out) == (7, True)
        with pytest.raises(LogReplaced, match="the log ends at 0"):
            audited(world)

    @pytest.mark.parametrize("broker", ["embedded"], indirect=True)
    def test_what_was_learned_is_read_from_the_commits_of_what_runs_here(self, make: Make) -> None:
        world = make(partitions=2, shards=2)
        world.predict(*range(9))
        world.report(*range(9))
        world.join(18)
        there = {n: world.attached.store.read(world.name, n, "0-0", 99) for n in range(2)}
        addresses = {"bootstrap": world.settings.kafka.bootstrap, "store": world.settings.redis.url}
        registry = commits_of(world, [sample for part in there.values() for _, sample, _ in part[:3]], there)
        (world.attached.folder / "embedded.json").write_text(json.dumps(addresses))
        world.settings = msgspec.structs.replace(world.settings, kafka=Broker(), redis=Address())
        assert audited(world)["verdict"]["agreed"] == 9
        learned = audit.count_learned(registry)
        assert (learned.samples, learned.doubled) == (6, 0)
        commits_of(world, [there[0][0][1]], there, number=1)
        assert audit.count_learned(registry).doubled == 1
        report = inspect(world.path, world.settings, compare=True)
        with pytest.raises(Unbalanced):
            report.check()
        assert report.verdict is not None
        assert report.verdict.differing == 1
        assert [one.left - one.right for one in report.learning] == [-1, 0]

    @pytest.mark.parametrize("broker", ["embedded"], indirect=True)
    def test_samples_that_a_reader_took_are_asked_for(self, make: Make) -> None:
        world = make()
        world.predict(*range(40))
        world.report(*range(40))
        world.join(80)
        world.attached.store.trim(world.name, 0, world.attached.store.shard(world.name, 0).last_id)
        with pytest.raises(ConfigError, match=r"a reader took samples .* 'topic' or 'parquet'"):
            audited(world)


def commits_of(world: World, samples: list[bytes], there: dict[int, Any], number: int = 0) -> Commits:
    """Write a commit up to the third sample of each shard, and trim, as the learner does."""
    registry = Commits(world.attached.folder)
    commit = Commit(
        number=number,
        parent="",
        learned=len(samples),
        samples=[msgspec.Raw(sample) for sample in samples],
        runs=[Run(0, 1, 1)] if number else [Run(0, 1, 3), Run(1, 1, 3)],
        batches=[len(samples)],
        shadow=[],
        intercept=(0.0,),
        positions={str(shard): part[2][0] for shard, part in there.items()},
        watermark_ms=0,
        latest_ms=0,
        fingerprint="",
    )
    append(registry, commit)
    for shard, part in there.items():
        world.attached.store.trim(world.name, shard, part[2][0])
    return registry


@pytest.mark.parametrize("broker", ["embedded"], indirect=True)
def test_a_store_that_went_back_behind_the_output_is_not_compared(
    make: Make, embedded_redis: Redis, embedded_store: Store
) -> None:
    world = make(to="parquet")
    world.predict(*range(3))
    world.report(*range(3))
    world.join(6)
    with ExitStack() as stack:
        writer = Writer(embedded_store, world.name, outputs(world.name, world.settings, stack))
        writer.step(10)
        writer.flush()
    embedded_redis.delete(f"{{{world.name}.0}}:s")
    with pytest.raises(HistoryChanged):
        audited(world)
