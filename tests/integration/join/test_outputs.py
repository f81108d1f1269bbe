"""The outputs of a join without a model: every sample once by id and revision, whoever is killed and whenever."""

import itertools
import json
import random
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, cast

import msgspec
import pyarrow.parquet as pq
import pytest
from redis import Redis

from deploy import config
from deploy.processes import crew
from deploy.processes.worker import GRACE_S, Work
from streams.errors import BrokerRefused, ConfigError, HistoryChanged, Overtaken
from streams.events import Event, Record
from streams.join.batch import Readers, decode, fill
from streams.join.policy import JoinPolicy
from streams.join.step import Move, Rules, Step
from streams.join.store import NOTHING, Store
from streams.kafka import Polled, Sink, Source, Tp, ensure_topics
from streams.kafka.broker import Broker
from streams.outputs import parquet, topic
from streams.outputs.parquet import ParquetOutput
from streams.outputs.samples import Samples, number
from streams.outputs.writer import Output, Target, Writer, rewind
from tests.conftest import Running

NUMBER = itertools.count()
T = 1_700_000_000_000
KILLS = 4
ASKED, TOLD = Tp("asked", 0), Tp("told", 0)
FEED = """
from deploy.feed import Feed
feed = Feed(name="{name}", prediction=print, outcome=print)
"""


def read(record: Record) -> Event:
    return Event((record.key or b"").decode(), record.t_ms, record.value or b"")


class Joined:
    """A feed whose steps are made by hand, without a broker: every pair of events is a sample."""

    def __init__(self, store: Store, **policy: Any) -> None:
        self.store, self.name = store, f"outputs{next(NUMBER)}"
        self.policy = JoinPolicy(**policy)
        self._rules = Rules.of(self.policy)
        self._readers = Readers(
            predictions="asked", outcomes="told", dead_letters="dead", prediction=read, outcome=read
        )
        self.next = {ASKED: 0, TOLD: 0}
        store.create(self.name, self.policy.shards, [ASKED, TOLD])

    def step(self, tp: Tp, events: Mapping[int, bytes], later_ms: int = 0) -> None:
        """Apply events, by the number of their id, to every shard."""
        start = self.next[tp]
        self.next[tp] += len(events)
        records = [
            Record(*tp, start + i, T, T + n + later_ms, b"id%d" % n, body) for i, (n, body) in enumerate(events.items())
        ]
        polled = Polled(tp, start, self.next[tp], records, [])
        batch = decode(polled, self._readers, self.policy.shards, self._rules, 2 * T)
        for shard in range(self.policy.shards):
            step = Step(f"{tp.topic}{start}.{self.next[tp]}.{next(NUMBER)}", self._rules)
            fill(step, shard, self.policy.shards, batch, start)
            self.store.step(self.name, shard, step)

    def emit(self, numbers: range, label: bytes = b"1") -> None:
        for start in range(numbers.start, numbers.stop, 1_000):
            part = range(start, min(start + 1_000, numbers.stop))
            self.step(ASKED, {n: b'{"x":%d}' % n for n in part})
            self.step(TOLD, dict.fromkeys(part, label), 1)

    def end(self) -> None:
        """End the feed, and let every shard see that both partitions have been read."""
        for shard in range(self.policy.shards):
            self.store.close_feed(self.name, shard)
            moves = [Move(f"{tp.topic}:0", at, at, ended=1) for tp, at in self.next.items()]
            while self.store.step(self.name, shard, Step(f"end{next(NUMBER)}", self._rules, moves)).windows:
                pass

    def target(self, folder: Path, rows: int = 50, labels: Any = "number") -> Target:
        return Target(
            feed=self.name,
            shards=self.policy.shards,
            topic=f"{self.name}.samples",
            path=str(folder),
            rows_per_file=rows,
            seconds_per_file=3_600,
            labels=labels,
        )

    def unread(self) -> int:
        return sum(self.store.shard(self.name, shard).unread for shard in range(self.policy.shards))


def rows(folder: Path) -> list[dict[str, Any]]:
    return [row for path in sorted(folder.glob("shard=*/*.parquet")) for row in pq.read_table(path).to_pylist()]


def published(address: str, name: str, shards: int) -> list[dict[str, Any]]:
    """Read the topic as its consumer: a void record takes back what is after its position."""
    emitted: list[dict[str, Any]] = []
    for shard in range(shards):
        tp, kept = Tp(name, shard), cast("list[dict[str, Any]]", [])
        with closing(Source(address, [tp])) as source:
            for record in reversed(list(topic.backwards(source, tp))):
                about = {key: value.decode() for key, value in record.headers}
                if about["kind"] == topic.VOID:
                    kept = [row for row in kept if number(row["position"]) <= number(about["position"])]
                    continue
                row = json.loads(record.value or b"") | {"position": about["position"]}
                assert (record.key, about["kind"]) == (row["id"].encode(), row["kind"])
                assert (about["revision"], about["t"]) == (str(row["revision"]), str(row["t"]))
                kept.append(row)
        emitted += kept
    return emitted


def check(emitted: list[dict[str, Any]], count: int) -> None:
    """Check that every id and revision is there exactly once."""
    seen = Counter((row["id"], row["revision"]) for row in emitted)
    assert set(seen.values()) == {1}
    assert set(seen) == {(f"id{n}", 0) for n in range(count)}


def test_a_reader_gets_every_sample_once_goes_on_from_a_position_and_ends_with_the_feed(embedded_store: Store) -> None:
    joined = Joined(embedded_store, shards=3)
    joined.emit(range(100))
    first = list(itertools.islice(Samples(embedded_store, joined.name, 3), 60))
    at = {taken.shard: taken.position for taken in first}
    for shard, position in at.items():
        Samples(embedded_store, joined.name, 3).done(shard, position)
    assert joined.unread() == 40
    joined.emit(range(100, 150))
    joined.end()
    rest = list(Samples(embedded_store, joined.name, 3, at))
    check([json.loads(taken.sample) for taken in first + rest], 150)
    with pytest.raises(HistoryChanged):
        next(iter(Samples(embedded_store, joined.name, 3)))


def test_the_columns_of_a_file(embedded_store: Store, tmp_path: Path) -> None:
    joined = Joined(embedded_store, absent="negative", window_s=1, emit="at_close")
    joined.step(ASKED, {1: b'{"x": 1}', 2: b'{"x":"\xc3\xa9"}'})
    joined.step(TOLD, {1: b"2.5"}, 10)
    joined.end()
    assert Writer(embedded_store, joined.name, [ParquetOutput(joined.target(tmp_path), 0)]).step(0) is False
    assert not rows(tmp_path)
    assert joined.unread() == 2
    assert Writer(embedded_store, joined.name, [ParquetOutput(joined.target(tmp_path, rows=2), 0)]).step(0) is False
    (path,) = tmp_path.glob("*/*")
    assert str(path.relative_to(tmp_path)) == "shard=0/0000000000000001.parquet"
    assert pq.read_metadata(path).row_group(0).column(0).compression == "ZSTD"
    kinds = {field.name: str(field.type) for field in pq.read_schema(path)}
    at = "timestamp[ms, tz=UTC]"
    assert kinds == {
        "id": "string", "kind": "string", "revision": "int32", "t": at, "label": "double", "label_t": at,
        "prediction": "string", "position": "string",
    }  # fmt: skip
    one, two = (row | {k: int(row[k].timestamp() * 1_000) for k in ("t", "label_t")} for row in rows(tmp_path))
    assert one | {"position": ""} == {
        "id": "id1", "kind": "joined", "revision": 0, "t": T + 1, "label": 2.5, "label_t": T + 11,
        "prediction": '{"x": 1}', "position": "",
    }  # fmt: skip
    assert (two["kind"], two["label"], two["label_t"], two["prediction"]) == ("negative", 0, T + 1_002, '{"x":"é"}')
    assert two["position"] == embedded_store.shard(joined.name, 0).last_id
    assert joined.unread() == 0


def test_files_come_when_they_are_full_or_old_and_at_the_end(embedded_store: Store, tmp_path: Path) -> None:
    joined, now = Joined(embedded_store), [0.0]
    target = msgspec.structs.replace(joined.target(tmp_path), seconds_per_file=60)
    writer = Writer(embedded_store, joined.name, [ParquetOutput(target, 0, lambda: now[0])])
    joined.emit(range(120))
    writer.step(0)
    assert [len(pq.read_table(path)) for path in sorted(tmp_path.glob("*/*"))] == [50, 50]
    assert joined.unread() == 20
    now[0] = 61
    writer.step(0)
    joined.emit(range(120, 125))
    joined.end()
    while not writer.step(0):
        pass
    assert [path.stem.lstrip("0") for path in sorted(tmp_path.glob("*/*"))] == ["1", "51", "101", "121"]
    check(rows(tmp_path), 125)
    assert joined.unread() == 0


def test_labels_that_are_not_numbers(embedded_store: Store, tmp_path: Path) -> None:
    joined = Joined(embedded_store)
    joined.emit(range(3), b'"blue"')
    writer = Writer(embedded_store, joined.name, [ParquetOutput(joined.target(tmp_path), 0)])
    writer.step(0)
    with pytest.raises(ConfigError, match=r"the label of 'id0' is \"blue\", not a number: set output\.labels = 'json'"):
        writer.flush()
    writer = Writer(embedded_store, joined.name, [ParquetOutput(joined.target(tmp_path, labels="json"), 0)])
    writer.step(0)
    writer.flush()
    assert [row["label"] for row in rows(tmp_path)] == ['"blue"'] * 3


def test_the_second_of_two_writers_to_a_folder_ends(embedded_store: Store, tmp_path: Path) -> None:
    joined = Joined(embedded_store)
    joined.emit(range(100))
    target = joined.target(tmp_path)
    zombie, output = ParquetOutput(target, 0), ParquetOutput(target, 0)
    samples = embedded_store.read(joined.name, 0, NOTHING, 100)
    zombie.write(samples[:40])
    Writer(embedded_store, joined.name, [output]).step(0)
    with pytest.raises(Overtaken, match="only one may"):
        zombie.flush()
    check(rows(tmp_path), 100)


@pytest.fixture(params=["parquet", "topic"])
def opened(request: pytest.FixtureRequest, broker: Running, embedded_store: Store, tmp_path: Path) -> "Opened":
    if request.param == "parquet" and broker.kind != "embedded":
        pytest.skip("Parquet needs no broker")
    return Opened(request.param, broker, Joined(embedded_store, shards=2), tmp_path / "samples")


class Opened:
    """An output of either kind, and how to read it."""

    def __init__(self, to: str, broker: Running, joined: Joined, folder: Path) -> None:
        self.to, self.broker, self.joined, self.folder = to, broker.address, joined, folder
        self.target = joined.target(folder)
        if to == "topic":
            ensure_topics(self.broker, {self.target.topic: joined.policy.shards})

    def outputs(self, stack: ExitStack) -> list[Output]:
        connect = parquet.connect if self.to == "parquet" else topic.connect
        return connect(self.target, Broker(bootstrap=self.broker), stack)

    def write(self, back: bool = False) -> None:
        """Write all that is there with a fresh writer."""
        with ExitStack() as stack:
            outputs = self.outputs(stack)
            if back:
                rewind(self.joined.store, self.joined.name, outputs)
            writer = Writer(self.joined.store, self.joined.name, outputs)
            writer.step(0)
            writer.flush()

    def rows(self) -> list[dict[str, Any]]:
        if self.to == "parquet":
            return rows(self.folder)
        return published(self.broker, self.target.topic, self.joined.policy.shards)

    def progress(self) -> int:
        if self.to == "parquet":
            return len(list(self.folder.glob("shard=*/*.parquet")))
        tps = [Tp(self.target.topic, shard) for shard in range(self.joined.policy.shards)]
        with closing(Source(self.broker, tps)) as source:
            return sum(source.ends().values())


def test_a_store_that_went_back_stops_the_writer_until_the_output_is_taken_back(
    opened: Opened, embedded_redis: Redis
) -> None:
    joined = opened.joined
    joined.emit(range(60))
    opened.write()
    kept = {key: embedded_redis.dump(key) for key in embedded_redis.scan_iter(f"{{{joined.name}.*")}
    before = dict(joined.next)
    joined.emit(range(60, 100))
    opened.write()
    check(opened.rows(), 100)
    for key, value in kept.items():
        embedded_redis.restore(key, 0, cast(bytes, value), replace=True)
    joined.next = before
    joined.emit(range(60, 90), b"0")
    first = {shard: s.seq - s.unread for shard in (0, 1) for s in [joined.store.shard(joined.name, shard)]}
    for _ in range(2):
        with pytest.raises(HistoryChanged, match=f"the samples after {first[0]} are outdated.*--rewind"):
            opened.write()
    check(opened.rows(), 100)
    opened.write(back=True)
    joined.emit(range(90, 95))
    opened.write()
    check(opened.rows(), 95)
    assert all(row["label"] == (not 60 <= int(row["id"][2:]) < 90) for row in opened.rows())


def test_an_output_that_is_not_the_one_that_was_written_is_refused(opened: Opened) -> None:
    opened.joined.emit(range(40))
    opened.write()
    opened.target = msgspec.structs.replace(opened.target, path=str(opened.folder) + "2", topic="elsewhere")
    if opened.to == "topic":
        ensure_topics(opened.broker, {"elsewhere": 2})
    with pytest.raises(HistoryChanged, match="ends with sample 0 of shard 0, but the stream begins after"):
        opened.write()


def test_a_killed_writers_open_transaction_is_ended_and_it_can_never_commit(
    broker: Running, embedded_store: Store, tmp_path: Path
) -> None:
    opened = Opened("topic", broker, Joined(embedded_store, shards=2), tmp_path)
    opened.joined.emit(range(40))
    with closing(Sink(opened.broker, transactional_id=f"{opened.joined.name}.0.writer")) as zombie:
        open_transaction = zombie.transaction()
        open_transaction.__enter__()
        for position, sample, _ in embedded_store.read(opened.joined.name, 0, NOTHING, 5):
            row = json.loads(sample)
            about = {"kind": row["kind"], "revision": "0", "position": position}
            zombie.send(
                Tp(opened.target.topic, 0),
                key=row["id"].encode(),
                value=sample,
                t_ms=row["t"],
                headers=[(key, text.encode()) for key, text in about.items()],
            )
        zombie.flush()
        opened.write()
        check(opened.rows(), 40)  # the embedded broker shows the aborted ones, which then count as written
        if broker.kind == "external":  # the embedded broker hangs up on a fenced writer, which takes that for a fault
            with pytest.raises(BrokerRefused):
                open_transaction.__exit__(None, None, None)
    check(opened.rows(), 40)


def test_a_writer_killed_again_and_again_writes_every_sample_once(
    opened: Opened, embedded_store_url: str, tmp_path: Path
) -> None:
    joined, rng, each = opened.joined, random.Random(5), 3_000
    (tmp_path / "feed.py").write_text(FEED.format(name=joined.name))
    settings = config.Settings(
        kafka=config.Kafka(bootstrap=opened.broker),
        redis=config.Redis(url=embedded_store_url),
        join=joined.policy,
        output=config.Output(to=cast("Any", opened.to), path=str(opened.folder), rows_per_file=70),
    )
    work = Work(role="writer", feed=str(tmp_path / "feed.py"), settings=settings, tps=[], fetch_wait_ms=5)
    for killed in range(KILLS):
        joined.emit(range(killed * each, (killed + 1) * each))
        worker, before = crew.start(work, tmp_path / "log"), opened.progress()
        more = rng.randrange(1, 30 if opened.to == "parquet" else 1_000)
        deadline = time.monotonic() + 300
        while opened.progress() < before + more:
            assert worker.exit_code is None, (tmp_path / "log").read_text()
            assert time.monotonic() < deadline, (tmp_path / "log").read_text()
        worker.kill()
        worker.wait(GRACE_S)
    joined.end()
    worker = crew.start(work, tmp_path / "log")
    deadline = time.monotonic() + 300
    while worker.exit_code is None:
        assert time.monotonic() < deadline, (tmp_path / "log").read_text()
        time.sleep(0.02)
    worker.wait(GRACE_S)
    assert worker.exit_code == 0, (tmp_path / "log").read_text()
    check(opened.rows(), KILLS * each)
    assert joined.unread() == 0
    assert not list(opened.folder.glob("shard=*/.*"))
