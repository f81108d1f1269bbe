"""What an operator does to a join: dead letters back through it, the audit, the end of a feed, an accepted loss."""

import itertools
import json
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import msgspec
import pytest
from kafka import KafkaAdminClient, TopicPartition
from redis import Redis

from deploy import audit, letters, operate
from deploy.config import Output, Registry, Settings
from deploy.place import Place, opened
from deploy.registry import Registry as Commits
from deploy.worker import outputs
from learners import commits
from learners.commits import Commit, Run
from streams.audit import Unbalanced
from streams.batch import LAST_TIME_MS, Letter, decode, fill
from streams.broker import Broker
from streams.dead import DeadLetters
from streams.errors import BrokerUnreachable, ConfigError, HistoryChanged, LogReplaced, LostRange
from streams.events import Prediction, Record, encode
from streams.joiner import Joiner
from streams.kafka import Sink, Tp, ensure_topics
from streams.outputs.writer import Writer
from streams.policy import JoinPolicy
from streams.redis import Address
from streams.scan import records, scan
from streams.step import Move, Rules, Step
from streams.store import Store
from streams.verify import Disagreement
from tests.conftest import Running

NUMBER = itertools.count()
T = 1_360_000_000_000
WHY = "a broker of the test"
PLACES = [("embedded", "stream"), ("embedded", "topic"), ("embedded", "parquet")]
FEED = """
from deploy.feed import Feed
from streams.events import json_outcome, labelled, read_prediction
feed = Feed(name="{name}", prediction=read_prediction, outcome={outcome})
"""
STRICT = "lambda record: labelled(json_outcome(record))"
FIXED = "lambda record: labelled(json_outcome(record._replace(value=(record.value or b'').strip(b'#'))))"


class World:
    """A feed on a real broker and store, its file, and the means to fill and join it."""

    def __init__(
        self, folder: Path, broker: str, store: str, *, partitions: int = 1, to: Any = "stream", **join: Any
    ) -> None:
        self.name, self.path, self.undo = f"operated{next(NUMBER)}", folder / "feed.py", ExitStack()
        self.settings = msgspec.structs.replace(
            Settings(),
            kafka=Broker(bootstrap=broker),
            redis=Address(url=store),
            registry=Registry(path=str(folder)),
            join=JoinPolicy(**join),
            output=Output(to=to, path=str(folder / "samples")),
        )
        self.settings = msgspec.structs.replace(
            self.settings, topics=msgspec.structs.replace(self.settings.topics, partitions=partitions)
        )
        self.reads(STRICT)
        self.place: Place = self.undo.enter_context(opened(self.path, self.settings))
        names = (self.place.readers.predictions, self.place.readers.outcomes)
        topics, tps = dict.fromkeys(names, partitions), [Tp(name, n) for name in names for n in range(partitions)]
        samples = {self.place.samples(0).topic: self.place.shards} if to == "topic" else {}
        ensure_topics(broker, topics | samples | {self.place.readers.dead_letters: partitions})
        self.place.store.create(self.name, self.place.shards, tps)
        self.sink = self.undo.enter_context(closing(Sink(broker)))
        self.asked, self.told = tps[:partitions], tps[partitions:]

    def reads(self, outcome: str) -> None:
        self.path.write_text(FEED.format(name=self.name, outcome=outcome))

    def predict(self, *numbers: int) -> None:
        for n in numbers:
            value = encode(Prediction(f"id{n}", T + n, 1, (0.5,), (0.0,), n, msgspec.Raw(b'{"x":%d}' % n)))
            self.sink.send(self.asked[n % len(self.asked)], key=None, value=value, t_ms=T + n)
        self.sink.flush()

    def report(self, *numbers: int, spoilt: bytes = b"", **more: Any) -> None:
        for n in numbers:
            value, tp = spoilt + b'{"label":%d}' % (n % 2), self.told[n % len(self.told)]
            self.sink.send(tp, key=b"id%d" % n, value=value, t_ms=T + n + 1, **more)
        self.sink.flush()

    def join(self, records: int) -> None:
        """Let a fresh joiner handle so many records."""
        deadline = time.monotonic() + 30
        with opened(self.path, self.settings) as place, place.source(place.tps) as source:
            joiner = Joiner(self.name, self.settings.join, source, place.store, self.sink, place.readers)
            while records > 0:
                assert time.monotonic() < deadline
                records -= joiner.step(50)
            _ = joiner.shards
            joiner.close()
        assert records == 0

    def count(self, counter: str) -> int:
        return sum(self.place.store.shard(self.name, n).counters[counter] for n in range(self.place.shards))

    def in_log(self, tp: Tp) -> list[Record]:
        with self.place.source([tp]) as source:
            return list(records(source))


Make = Callable[..., World]


@pytest.fixture
def make(broker: Running, embedded_store_url: str, tmp_path: Path) -> Iterator[Make]:
    """Makes a feed on the broker of the test."""
    with ExitStack() as stack:

        def made(**more: Any) -> World:
            world = World(tmp_path, broker.address, embedded_store_url, **more)
            stack.push(world.undo)
            return world

        yield made


@pytest.fixture
def only_kafka(broker: Running) -> None:
    if broker.kind == "embedded":
        pytest.skip("the embedded broker deletes no records and shows aborted ones")


def told(capsys: pytest.CaptureFixture[str]) -> Any:
    """The JSON on the last line of standard output."""
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def yes(_: str) -> bool:
    return True


class TestDeadLetters:
    def test_after_a_fix_they_come_back_through_the_join_once(
        self, make: Make, capsys: pytest.CaptureFixture[str]
    ) -> None:
        world = make()
        world.predict(*range(6))
        world.report(0, 1)
        world.report(2, 3, spoilt=b"#", headers=[("from", b"a test")])
        world.report(4, spoilt=b"#" * 100_000)
        world.join(11)
        letters.show_list(world.path, world.settings, as_json=True)
        listing = told(capsys)
        assert (listing["positions"], sum(listing["reasons"].values())) == (3, 3)
        assert [row["bytes"] for row in listing["rows"]] == [12, 12, 100_011]
        world.reads(FIXED)
        first = f"{world.told[0].topic}/0/2"
        assert letters.replay(world.path, world.settings, positions=[first, first]).done == [first]
        assert len(letters.replay(world.path, world.settings, reason="not JSON").done) == 2
        assert letters.replay(world.path, world.settings, reason="not JSON").done == []
        again = world.in_log(world.told[0])[5:]
        headers = [("t", b"%d" % (T + 3)), ("from", b"a test"), ("replayed", first.encode())]
        assert (again[0].key, again[0].value, list(again[0].headers)) == (b"id2", b'#{"label":0}', headers)
        assert again[2].value is not None
        assert len(again[2].value) == 100_011
        world.join(3)
        assert (world.count("joined"), world.count("outcome_duplicate")) == (5, 0)
        capsys.readouterr()
        operate.show_audit(world.path, world.settings, compare=True, as_json=True)
        found = told(capsys)
        assert (found["verdict"]["differing"], found["verdict"]["agreed"], sum(found["rejected"].values())) == (0, 6, 3)

    def test_a_position_is_listed_once_however_many_letters_there_are(
        self, make: Make, capsys: pytest.CaptureFixture[str]
    ) -> None:
        world = make(partitions=2)
        record = Record(*world.told[1], 7, T, T, None, b"\xff\x00", (("h", b"\xfe"),))
        one = Letter(world.told[1], 7, 8, "[no] good", record)
        dead = DeadLetters(world.sink, world.place.readers.dead_letters)
        dead.send([one, one])
        dead.send([Letter(world.told[0], 3, 9, "a flipped byte", None), one])
        letters.show_list(world.path, world.settings)
        shown = capsys.readouterr().out
        assert "2 dead letters" in shown
        letters.show_list(world.path, world.settings, as_json=True)
        rows = {row["reason"]: row for row in told(capsys)["rows"]}
        assert (rows["[no] good"]["copies"], rows["a flipped byte"]["end"]) == (3, 9)
        letters.show_one(world.path, world.settings, f"{world.told[1].topic}/1/7")
        shown = capsys.readouterr().out
        for part in ("reason: [no] good", "ff 00", "header h: b'\\xfe'", "key: None"):
            assert part in shown
        lost = letters.replay(world.path, world.settings, positions=[f"{world.told[0].topic}/0/3"])
        assert [why for _, why in lost.refused] == [
            "its bytes could not be read, so there is no record to publish again"
        ]
        with pytest.raises(ConfigError, match="there is no dead letter of 'x/0/1'"):
            letters.show_one(world.path, world.settings, "x/0/1")
        with pytest.raises(ConfigError, match="not both"):
            letters.replay(world.path, world.settings)

    def test_a_letter_that_was_cut_needs_its_record_in_the_topic(self, make: Make) -> None:
        world = make()
        world.report(1)
        record = Record(*world.told[0], 0, T, T, b"id1", b"x" * 70_000)
        gone = record._replace(offset=5)
        dead = DeadLetters(world.sink, world.place.readers.dead_letters)
        dead.send([Letter(world.told[0], r.offset, r.offset + 1, "large", r) for r in (record, gone)])
        done = letters.replay(world.path, world.settings, reason="large")
        assert done.done == []
        assert [why.rpartition(" offset ")[2] for _, why in done.refused] == [
            "0 holds another record now",
            "5 is not there any more",
        ]

    @pytest.mark.usefixtures("only_kafka")
    def test_a_replay_that_breaks_off_leaves_nothing(self, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
        world = make()
        world.report(1, spoilt=b"#")
        world.join(1)

        class Breaking(Sink):
            def flush(self) -> dict[Tp, int]:
                super().flush()
                raise BrokerUnreachable("the broker went away between record and mark")

        breaking = Breaking(world.place.broker, transactional_id=f"{world.name}.replay")
        with monkeypatch.context() as patch:
            patch.setattr(letters, "_sink", lambda _: breaking)
            with pytest.raises(BrokerUnreachable):
                letters.replay(world.path, world.settings, reason="not JSON")
        assert [record.offset for record in world.in_log(world.told[0])] == [0]
        assert len(letters.replay(world.path, world.settings, reason="not JSON").done) == 1
        assert len(world.in_log(world.told[0])) == 2


class TestAudit:
    @pytest.mark.parametrize(("broker", "to"), PLACES, indirect=["broker"])
    def test_it_holds_and_the_verifier_agrees_wherever_the_samples_went(
        self, make: Make, to: str, capsys: pytest.CaptureFixture[str]
    ) -> None:
        world = make(partitions=2, shards=2, to=to)
        world.predict(*range(40), 3)
        world.report(*range(20), 5, 60)
        world.join(63)
        if to != "stream":
            with ExitStack() as stack:
                writer = Writer(world.place.store, world.name, outputs(world.name, world.settings, stack))
                while any(world.place.store.shard(world.name, n).unread for n in range(2)):
                    writer.step(10)
                    writer.flush()
            world.report(*range(20, 25))
            world.join(5)
        operate.show_audit(world.path, world.settings, compare=True, waiting=3, as_json=True)
        found = told(capsys)
        assert (found["verdict"]["agreed"], found["verdict"]["explained"], found["verdict"]["differing"]) == (41, {}, 0)
        begin = 20 if to == "stream" else 25
        assert [one[1] for one in found["waiting"]] == [f"id{n}" for n in range(begin, begin + 3)]
        assert [one["equation"]["left"] for one in found["audit"]["partitions"]] == [
            sum(at.records for at in (s.positions[one["tp"]] for s in shards(world)))
            for one in found["audit"]["partitions"]
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
        with pytest.raises(Disagreement, match=f"{len(entries[1][1])} differences") as ended:
            operate.show_audit(world.path, world.settings, compare=True)
        assert ended.value.exit_code == 8

    @pytest.mark.parametrize("broker", ["embedded"], indirect=True)
    def test_an_equation_that_does_not_hold_has_its_exit_code(
        self, make: Make, capsys: pytest.CaptureFixture[str]
    ) -> None:
        world = make()
        world.predict(1)
        world.join(1)
        tp = f"{world.told[0].topic}:0"
        world.place.store.step(world.name, 0, Step("t", world.place.rules, [Move(tp, 0, 1)]))
        with pytest.raises(Unbalanced) as ended:
            operate.show_audit(world.path, world.settings)
        assert (ended.value.exit_code, "✗ 1" in capsys.readouterr().out) == (7, True)
        with pytest.raises(LogReplaced, match="the log ends at 0"):
            operate.show_audit(world.path, world.settings, compare=True)

    @pytest.mark.parametrize("broker", ["embedded"], indirect=True)
    def test_what_was_learned_is_read_from_the_commits_of_what_runs_here(
        self, make: Make, capsys: pytest.CaptureFixture[str]
    ) -> None:
        world = make(partitions=2, shards=2)
        world.predict(*range(9))
        world.report(*range(9))
        world.join(18)
        there = {n: world.place.store.read(world.name, n, "0-0", 99) for n in range(2)}
        addresses = {"bootstrap": world.settings.kafka.bootstrap, "store": world.settings.redis.url}
        registry = commits_of(world, [sample for part in there.values() for _, sample in part[:3]], there)
        (world.place.folder / "embedded.json").write_text(json.dumps(addresses))
        world.settings = msgspec.structs.replace(world.settings, kafka=Broker(), redis=Address())
        operate.show_audit(world.path, world.settings, compare=True, as_json=True)
        assert told(capsys)["verdict"]["agreed"] == 9
        learned = audit.learned(registry)
        assert (learned.samples, learned.doubled) == (6, 0)
        commits_of(world, [there[0][0][1]], there, number=1)
        assert audit.learned(registry).doubled == 1
        with pytest.raises(Unbalanced):
            operate.show_audit(world.path, world.settings, compare=True, as_json=True)
        found = told(capsys)
        assert found["verdict"]["differing"] == 1
        assert [one["left"] - one["right"] for one in found["learning"]] == [-1, 0]

    @pytest.mark.parametrize("broker", ["embedded"], indirect=True)
    def test_samples_that_a_reader_took_are_asked_for(self, make: Make) -> None:
        world = make()
        world.predict(*range(40))
        world.report(*range(40))
        world.join(80)
        world.place.store.trim(world.name, 0, world.place.store.shard(world.name, 0).last_id)
        with pytest.raises(ConfigError, match=r"a reader took samples .* 'topic' or 'parquet'"):
            operate.show_audit(world.path, world.settings, compare=True)


def commits_of(world: World, samples: list[bytes], there: dict[int, Any], number: int = 0) -> Commits:
    """Write a commit as the learner does, and trim, with the position of the third sample of each shard."""
    registry = Commits(world.place.folder)
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
    registry.create("commits", number, commits.encode(commit))
    for shard, part in there.items():
        world.place.store.trim(world.name, shard, part[2][0])
    return registry


def shards(world: World) -> list[Any]:
    return [world.place.store.shard(world.name, n) for n in range(world.place.shards)]


def test_the_end_of_a_feed_closes_its_windows_and_says_who_and_why(
    make: Make, capsys: pytest.CaptureFixture[str]
) -> None:
    world = make(shards=2, idle_s=1e6)
    world.predict(*range(10))
    world.report(*range(4))
    world.join(14)
    for why, ask, said in (("", yes, "--why"), (WHY, lambda _: False, "nothing was done")):
        with pytest.raises(ConfigError, match=said):
            operate.end_feed(world.path, world.settings, why=why, ask=ask)
    assert not any(state.ending for state in shards(world))
    operate.end_feed(world.path, world.settings, why=WHY, who="we", ask=yes)
    with world.place.source(world.place.tps) as source:
        joiner = Joiner(world.name, world.settings.join, source, world.place.store, world.sink, world.place.readers)
        deadline = time.monotonic() + 30
        while any(state.windows for state in joiner.shards):
            assert time.monotonic() < deadline
            joiner.step(20)
        joiner.close()
    assert world.count("unlabelled") == 6
    operate.show_audit(world.path, world.settings, compare=True, as_json=True)
    found = told(capsys)
    note = json.loads(found["notes"][0])
    assert (len(found["notes"]), note["what"], note["who"], note["why"]) == (1, "end-of-feed", "we", WHY)
    assert (found["verdict"]["agreed"], found["verdict"]["differing"]) == (10, 0)


class TestAcceptedLoss:
    def accept(self, world: World, tp: Tp, ask: Callable[[str], bool] = yes) -> str:
        said: list[str] = []
        where = f"{tp.topic}:{tp.partition}"
        operate.accept_loss(world.path, world.settings, where, why=WHY, who="we", ask=ask, say=said.append)
        return said[0]

    def delete(self, world: World, before: int) -> None:
        with closing(KafkaAdminClient(bootstrap_servers=world.place.broker.servers)) as admin:
            admin.delete_records({TopicPartition(*world.asked[0]): before})

    def test_without_a_loss_it_is_refused(self, make: Make) -> None:
        world = make()
        world.predict(*range(5))
        world.join(5)
        with pytest.raises(ConfigError, match=r"nothing is lost of .*: the log starts at 0, and the next to read is 5"):
            self.accept(world, world.asked[0])
        with pytest.raises(ConfigError, match="--partition must be one of"):
            self.accept(world, Tp("elsewhere", 0))
        tp = f"{world.told[0].topic}:0"
        world.place.store.step(world.name, 0, Step("t", world.place.rules, [Move(tp, 0, 3, holes=3)]))
        with pytest.raises(LogReplaced, match="it was replaced"):
            self.accept(world, world.told[0])

    @pytest.mark.usefixtures("only_kafka")
    def test_the_join_goes_on_behind_it_and_the_audit_holds(
        self, make: Make, capsys: pytest.CaptureFixture[str]
    ) -> None:
        world = make(shards=2)
        world.predict(*range(10))
        world.join(10)
        world.predict(*range(10, 30))
        self.delete(world, 22)
        with pytest.raises(LostRange):
            world.join(1)
        with pytest.raises(ConfigError, match="nothing was done"):
            self.accept(world, world.asked[0], ask=lambda _: False)
        assert "12 counted as lost" in self.accept(world, world.asked[0])
        world.report(*range(30))
        world.join(8 + 30)
        operate.show_audit(world.path, world.settings, compare=True, as_json=True)
        found = told(capsys)
        assert {one["tp"]: one["lost"] for one in found["audit"]["partitions"]} == {
            f"{world.asked[0].topic}:0": 12,
            f"{world.told[0].topic}:0": 0,
        }
        assert json.loads(found["notes"][0])["partition"] == f"{world.asked[0].topic}:0"
        assert (json.loads(found["notes"][0])["from"], json.loads(found["notes"][0])["to"]) == (10, 22)
        assert found["verdict"]["differing"] == 0
        assert found["verdict"]["explained"] == {"removed": 10}
        with pytest.raises(ConfigError, match="nothing is lost"):
            self.accept(world, world.asked[0])

    @pytest.mark.usefixtures("only_kafka")
    @pytest.mark.parametrize(("stand", "start"), [((4, 14, 9), 12), ((14, 0, 30), 8)])
    def test_shards_at_different_positions_still_count_every_position_once(
        self, make: Make, stand: tuple[int, ...], start: int, capsys: pytest.CaptureFixture[str]
    ) -> None:
        world = make(shards=3)
        world.predict(*range(8))
        world.sink.send(world.asked[0], key=None, value=b"{", t_ms=T)
        world.predict(*range(9, 13))
        world.sink.send(world.asked[0], key=None, value=b"[", t_ms=T)
        world.predict(*range(14, 30))
        for shard, end in enumerate(stand):
            self.apply(world, shard, end)
        self.delete(world, start)
        self.accept(world, world.asked[0])
        with world.place.source(world.place.tps) as source:
            joiner = Joiner(world.name, world.settings.join, source, world.place.store, world.sink, world.place.readers)
            deadline = time.monotonic() + 30
            while any(state.positions[f"{world.asked[0].topic}:0"].next < 30 for state in joiner.shards):
                assert time.monotonic() < deadline
                joiner.step(50)
            joiner.close()
        operate.show_audit(world.path, world.settings, as_json=True)
        found = told(capsys)["audit"]
        asked = next(one for one in found["partitions"] if one["tp"] == f"{world.asked[0].topic}:0")
        assert asked["equation"]["left"] == asked["equation"]["right"] == 30
        assert asked["lost"] > 0

    def apply(self, world: World, shard: int, end: int) -> None:
        """Bring one shard to a position by itself."""
        with world.place.source(world.asked) as source:
            for polled in scan(source, {world.asked[0]: (0, end)}):
                rules: Rules = world.place.rules
                batch = decode(polled, world.place.readers, 3, rules, LAST_TIME_MS)
                step = Step(f"{shard}.{polled.start}", rules)
                fill(step, shard, 3, batch, polled.start)
                world.place.store.step(world.name, shard, step)


def test_a_feed_that_is_not_there_is_said(tmp_path: Path) -> None:
    (tmp_path / "feed.py").write_text(FEED.format(name="nowhere", outcome=STRICT))
    settings = msgspec.structs.replace(Settings(), registry=Registry(path=str(tmp_path)))
    with pytest.raises(ConfigError, match="holds no feed"):
        letters.show_list(tmp_path / "feed.py", settings)


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
        operate.show_audit(world.path, world.settings, compare=True)
