"""What an operator does to a join: the end of a feed, an accepted loss."""

import json
import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest
from kafka import KafkaAdminClient, TopicPartition

from deploy import config
from deploy.config import Settings
from deploy.learning.bootstrap import bootstrap
from deploy.monitor import View
from deploy.operate.join import actions as operate
from deploy.operate.join import dead as letters
from deploy.operate.status import status
from deploy.registry.registry import Registry
from deploy.run.view import JoinView
from streams.errors import ConfigError, LogReplaced, LostRange
from streams.join.batch import LAST_TIME_MS, decode, fill
from streams.join.joiner import Joiner
from streams.join.step import Move, Rules, Step
from streams.kafka import Tp
from streams.kafka.reading.scan import scan
from tests import small
from tests.integration.join.operated import FEED, STRICT, WHY, Make, T, World, audited, shards, yes


def test_the_end_of_a_feed_closes_its_windows_and_says_who_and_why(make: Make) -> None:
    world = make(shards=2, idle_s=1e6)
    world.predict(*range(10))
    world.report(*range(4))
    world.join(14)
    for why, ask, said in (("", yes, "--why"), (WHY, lambda _: False, "nothing was changed")):
        with pytest.raises(ConfigError, match=said):
            operate.end_feed(world.path, world.settings, why=why, ask=ask)
    assert not any(state.ending for state in shards(world))
    operate.end_feed(world.path, world.settings, why=WHY, who="we", ask=yes)
    with world.attached.source(world.attached.tps) as source:
        joiner = Joiner(
            world.name, world.settings.join, source, world.attached.store, world.sink, world.attached.readers
        )
        deadline = time.monotonic() + 300
        while any(state.windows for state in joiner.shards):
            assert time.monotonic() < deadline
            joiner.step(20)
        joiner.close()
    assert world.count("unlabelled") == 6
    report = audited(world)
    note = json.loads(report["notes"][0])
    assert (len(report["notes"]), note["what"], note["who"], note["why"]) == (1, "end-of-feed", "we", WHY)
    assert (report["verdict"]["agreed"], report["verdict"]["differing"]) == (10, 0)


class TestAcceptedLoss:
    def accept(self, world: World, tp: Tp, ask: Callable[[str], bool] = yes) -> str:
        said: list[str] = []
        where = f"{tp.topic}:{tp.partition}"
        operate.accept_loss(world.path, world.settings, where, why=WHY, who="we", ask=ask, say=said.append)
        return said[0]

    def delete(self, world: World, before: int) -> None:
        with closing(KafkaAdminClient(bootstrap_servers=world.attached.broker.servers)) as admin:
            admin.delete_records({TopicPartition(*world.prediction_tps[0]): before})

    def test_without_a_loss_it_is_refused(self, make: Make) -> None:
        world = make()
        world.predict(*range(5))
        world.join(5)
        with pytest.raises(ConfigError, match=r"nothing is lost of .*: the log starts at 0, and the next to read is 5"):
            self.accept(world, world.prediction_tps[0])
        with pytest.raises(ConfigError, match="--partition must be one of"):
            self.accept(world, Tp("elsewhere", 0))
        tp = f"{world.outcome_tps[0].topic}:0"
        world.attached.store.step(world.name, 0, Step("t", world.attached.rules, [Move(tp, 0, 3, holes=3)]))
        with pytest.raises(LogReplaced, match="it was replaced"):
            self.accept(world, world.outcome_tps[0])

    @pytest.mark.usefixtures("only_kafka")
    def test_the_join_goes_on_behind_it_and_the_audit_holds(self, make: Make) -> None:
        world = make(shards=2)
        world.predict(*range(10))
        world.join(10)
        world.predict(*range(10, 30))
        self.delete(world, 22)
        with pytest.raises(LostRange):
            world.join(1)
        with pytest.raises(ConfigError, match="nothing was changed"):
            self.accept(world, world.prediction_tps[0], ask=lambda _: False)
        assert "12 counted as lost" in self.accept(world, world.prediction_tps[0])
        world.report(*range(30))
        world.join(8 + 30)
        report = audited(world)
        assert {one["tp"]: one["lost"] for one in report["audit"]["partitions"]} == {
            f"{world.prediction_tps[0].topic}:0": 12,
            f"{world.outcome_tps[0].topic}:0": 0,
        }
        assert json.loads(report["notes"][0])["partition"] == f"{world.prediction_tps[0].topic}:0"
        assert (json.loads(report["notes"][0])["from"], json.loads(report["notes"][0])["to"]) == (10, 22)
        assert report["verdict"]["differing"] == 0
        assert report["verdict"]["explained"] == {"removed": 10}
        with pytest.raises(ConfigError, match="nothing is lost"):
            self.accept(world, world.prediction_tps[0])

    @pytest.mark.usefixtures("only_kafka")
    @pytest.mark.parametrize(("stand", "start"), [((4, 14, 9), 12), ((14, 0, 30), 8)])
    def test_shards_at_different_positions_still_count_every_position_once(
        self, make: Make, stand: tuple[int, ...], start: int
    ) -> None:
        world = make(shards=3)
        world.predict(*range(8))
        world.sink.send(world.prediction_tps[0], key=None, value=b"{", t_ms=T)
        world.predict(*range(9, 13))
        world.sink.send(world.prediction_tps[0], key=None, value=b"[", t_ms=T)
        world.predict(*range(14, 30))
        for shard, end in enumerate(stand):
            self.apply(world, shard, end)
        self.delete(world, start)
        self.accept(world, world.prediction_tps[0])
        with world.attached.source(world.attached.tps) as source:
            joiner = Joiner(
                world.name, world.settings.join, source, world.attached.store, world.sink, world.attached.readers
            )
            deadline = time.monotonic() + 300
            while any(state.partitions[f"{world.prediction_tps[0].topic}:0"].next < 30 for state in joiner.shards):
                assert time.monotonic() < deadline
                joiner.step(50)
            joiner.close()
        report = audited(world, compare=False)["audit"]
        asked = next(one for one in report["partitions"] if one["tp"] == f"{world.prediction_tps[0].topic}:0")
        assert asked["equation"]["left"] == asked["equation"]["right"] == 30
        assert asked["lost"] > 0

    def apply(self, world: World, shard: int, end: int) -> None:
        """Bring one shard alone to an offset."""
        with world.attached.source(world.prediction_tps) as source:
            for polled in scan(source, {world.prediction_tps[0]: (0, end)}):
                rules: Rules = world.attached.rules
                batch = decode(polled, world.attached.readers, 3, rules, LAST_TIME_MS)
                step = Step(f"{shard}.{polled.start}", rules)
                fill(step, shard, 3, batch, polled.start)
                world.attached.store.step(world.name, shard, step)


def test_a_feed_that_is_not_there_is_said(tmp_path: Path) -> None:
    (tmp_path / "feed.py").write_text(FEED.format(name="nowhere", outcome=STRICT))
    settings = msgspec.structs.replace(Settings(), registry=config.Registry(path=str(tmp_path)))
    with pytest.raises(ConfigError, match="holds no feed"):
        letters.listed(tmp_path / "feed.py", settings)


def test_status_finds_a_feed_where_the_other_commands_do(make: Make) -> None:
    world = make()
    assert isinstance(joined := status(world.path, world.settings), JoinView)
    assert (joined.feed, joined.events) == (world.name, 0)
    bootstrap(replace(small.pipeline, name=world.name, history=None), Registry(world.attached.folder))
    world.predict(*range(5))
    world.join(5)
    view = status(world.path, world.settings)
    assert isinstance(view, View)
    assert (view.name, view.events, view.waiting) == (world.name, 5, 5)
    assert [champion.number for champion in view.champions] == [0]
