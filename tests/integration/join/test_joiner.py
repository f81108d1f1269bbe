"""The joiner on real brokers and stores: what it counts, what it refuses, where it resumes."""

import time
from collections.abc import Iterator
from contextlib import closing

import pytest
from kafka import KafkaAdminClient, KafkaProducer, TopicPartition

from learners.tasks.bandit import Bandit
from learners.tasks.classes import Classes
from learners.tasks.multilabel import MultiLabel
from learners.tasks.task import Task
from streams.errors import BrokerUnreachable, LogReplaced, LostRange
from streams.events import Event, Record
from streams.join.batch import Readers, decode
from streams.join.policy import JoinPolicy
from streams.join.step import Move, Rules, Step
from streams.kafka import Polled, Sink, Tp
from streams.kafka.records import tp_name
from streams.readers import read_prediction
from tests.conftest import Running
from tests.integration.join.joined import Feed, T, balanced, run

HOUR_MS = 3_600_000


class Refusing(Sink):
    """A sink whose broker acknowledges nothing."""

    def flush(self) -> dict[Tp, int]:
        raise BrokerUnreachable("not acknowledged")


@pytest.fixture
def feed(broker: Running, store_server: Running) -> Iterator[Feed]:
    made = Feed(broker, store_server)
    with made.undo:
        yield made


def test_joiners_share_a_feed_and_its_end_comes_when_all_have_read(broker: Running, store_server: Running) -> None:
    feed = Feed(broker, store_server, 2, shards=2, idle_s=1e6)
    with feed.undo:
        first, second = feed.joiner(partition=0), feed.joiner(partition=1)
        feed.predict(*range(40))
        feed.report(*range(1, 40, 3))
        run(first, 26)
        for shard in range(2):
            feed.store.close_feed(feed.name, shard)
        first.step(10)
        assert sum(s.counters["waiting"] for s in first.shards) == 14
        run(second, 27)
        for joiner in (second, first, second, first):
            joiner.step(10)
        assert feed.labels() == {f"id{n}": n % 2 for n in range(1, 40, 3)}
        assert sum(s.counters["unlabelled"] for s in second.shards) == 40 - 13
        assert all(at.ended for s in second.shards for at in s.partitions.values())
        balanced(feed)


def test_what_cannot_be_summed_is_refused() -> None:
    rules = Rules.of(JoinPolicy(emit="at_close", reduce="sum"))
    labels = [b"1", b"2.5e3", b'"blue"', b"true", b"[1]", b"1e999"]
    records = [Record("o", 0, n, T, T, b"id%d" % n, label) for n, label in enumerate(labels)]
    readers = Readers(
        predictions="p",
        outcomes="o",
        dead_letters="d",
        prediction=read_prediction,
        outcome=lambda record: Event("id", record.t_ms, record.value or b""),
    )
    batch = decode(Polled(Tp("o", 0), 0, 6, records, []), readers, 1, rules, T)
    assert batch.offsets == [0, 1]
    assert [letter.start for letter in batch.letters] == [2, 3, 4, 5]
    assert all("needs labels that are numbers" in letter.reason for letter in batch.letters)


@pytest.mark.parametrize(("shards", "partitions"), [(1, 1), (3, 2)])
def test_pairs_become_samples_in_any_order_and_once(
    broker: Running, store_server: Running, shards: int, partitions: int
) -> None:
    feed = Feed(broker, store_server, partitions, shards=shards)
    with feed.undo:
        joiner = feed.joiner()
        feed.report(*range(0, 20))
        run(joiner, 20)
        feed.predict(*range(0, 60), 5, 6)
        run(joiner, 62)
        feed.report(*range(20, 40), 7, 25)
        run(joiner, 22)
        assert feed.labels() == {f"id{n}": n % 2 for n in range(40)}
        total = {key: sum(s.counters[key] for s in joiner.shards) for key in joiner.shards[0].counters}
        assert (total["waiting"], total["prediction_duplicate"], total["outcome_duplicate"]) == (20, 2, 2)
        balanced(feed)


def test_a_partition_that_is_owed_predictions_is_not_idle(broker: Running, store_server: Running) -> None:
    """Outcomes that are read before their predictions are made wait for them, however long the servers are away."""
    feed, owed = Feed(broker, store_server, window_s=1.0, keep_s=1.0, slack_s=0.0, idle_s=5.0), [True]
    with feed.undo:
        joiner = feed.joiner(quiet=lambda tp: None if owed[0] and tp == feed.tps[0] else time.monotonic())
        feed.report(*range(0, 40_000, 1_000))
        run(joiner, 40)
        for _ in range(3):
            feed.now += 60.0
            joiner.step(10)
        assert joiner.shards[0].watermark_ms == 0
        assert joiner.shards[0].counters["orphan"] == 0
        owed[0] = False
        feed.predict(*range(0, 40_000, 1_000))
        joiner.step(10)  # whatever it has read yet, the end that it knew of is no longer taken
        while len(feed.labels()) < 40:
            joiner.step(50)
        assert joiner.shards[0].counters["orphan"] == 0
        balanced(feed)


def test_it_asks_for_the_ages_of_marks_once_a_second(feed: Feed) -> None:
    answers: list[tuple[int, ...] | None] = [(5,), None, (), (10,)]
    joiner = feed.joiner(ages_ms=lambda: answers.pop(0))
    marked = []
    for n in range(4):
        feed.predict(*range(100 * n, 100 * n + 40))
        feed.report(*range(100 * n + 20, 100 * n + 40))
        run(joiner, 60)
        while any(shard.due for shard in joiner.shards):
            joiner.step(10)
        assert len(answers) == 3 - n
        marked.append(sum(shard.counters["marked"] for shard in joiner.shards))
        feed.now += 1
    assert 0 < marked[0] < marked[1] == marked[2] < marked[3]


def test_a_fresh_joiner_goes_on_where_the_store_stands_and_a_stale_one_does_no_harm(feed: Feed) -> None:
    stale = feed.joiner()
    feed.predict(*range(10))
    feed.report(*range(5))
    run(stale, 15)
    current = feed.joiner()
    feed.predict(*range(10, 20))
    feed.report(*range(5, 15))
    run(current, 20)
    before = feed.store.shard(feed.name, 0)
    assert stale.step(1_000) > 0
    assert feed.store.shard(feed.name, 0).counters == before.counters
    feed.report(*range(15, 20))
    run(stale, 5)
    assert feed.labels() == {f"id{n}": n % 2 for n in range(20)}
    balanced(feed)


def test_what_cannot_be_read_goes_to_the_dead_letters_and_the_feed_goes_on(feed: Feed) -> None:
    joiner = feed.joiner()
    predictions, outcomes = feed.tps
    ahead = int(time.time() * 1_000) + 3 * HOUR_MS
    feed.sink.send(predictions, key=b"k", value=b"{", t_ms=T)
    feed.sink.send(outcomes, key=b"id1", value=b'{"label":"yes"}', t_ms=T)
    feed.sink.send(outcomes, key=b"id1", value=b'{"label":1}', t_ms=ahead)
    feed.sink.send(outcomes, key=b"\xff", value=b'{"label":1}', t_ms=T)
    feed.sink.send(outcomes, key=bytes(600).replace(b"\0", b"x"), value=b'{"label":1}', t_ms=T)
    feed.predict(1)
    feed.report(1)
    run(joiner, 7)
    assert feed.labels() == {"id1": 1}
    letters = {letter.key: letter for letter in feed.letters(5)}
    where = [f"{predictions.topic}/0/0", *(f"{outcomes.topic}/0/{n}" for n in range(4))]
    assert set(letters) == {key.encode() for key in where}
    reasons = [dict(letters[key.encode()].headers)["reason"].decode() for key in where]
    for reason, said in zip(
        reasons, ("not JSON", "a binary label", "too far ahead", "UTF-8", "512 bytes"), strict=True
    ):
        assert said in reason
    assert letters[where[0].encode()].value == b"{"
    assert [joiner.shards[0].partitions[tp_name(tp)].rejected for tp in feed.tps] == [1, 4]
    balanced(feed)


def test_a_label_may_be_text_or_several_numbers_and_a_sample_has_the_task_s_target(
    broker: Running, store_server: Running
) -> None:
    tasks: tuple[Task, ...] = (Classes(("cat", "dog")), MultiLabel(("cat", "dog", "bird")), Bandit(2))
    labels = (b'"dog"', b'["bird","cat"]', b'{"action":1,"reward":0.5}')
    for task, label, target in zip(tasks, labels, (1.0, (1.0, 0.0, 1.0), (0.5, 1.0, 0.0)), strict=True):
        feed = Feed(broker, store_server, task=task)
        with feed.undo:
            feed.sink.send(feed.tps[1], key=b"id1", value=b'{"label":%b}' % label, t_ms=T)
            feed.predict(1)
            run(feed.joiner(), 2)
            assert feed.labels() == {"id1": target}
            balanced(feed)


def test_no_step_counts_a_letter_that_was_not_acknowledged(feed: Feed) -> None:
    feed.sink.send(feed.tps[0], key=None, value=b"{", t_ms=T)
    feed.predict(1)
    before = feed.store.shard(feed.name, 0)
    with closing(Refusing(feed.broker)) as refusing:
        joiner = feed.joiner(refusing)
        with pytest.raises(BrokerUnreachable, match="not acknowledged"):
            run(joiner, 2)
    assert feed.store.shard(feed.name, 0).partitions == before.partitions
    run(feed.joiner(), 2)
    assert {letter.key for letter in feed.letters(1)} == {f"{feed.topics[0]}/0/0".encode()}


def test_a_silent_partition_is_claimed_idle_and_the_end_closes_every_window(
    broker: Running, store_server: Running
) -> None:
    feed = Feed(broker, store_server, idle_s=10, window_s=1, keep_s=0)
    with feed.undo:
        joiner = feed.joiner()
        feed.predict(*range(0, 3_000, 10))
        run(joiner, 300)
        joiner.step(0)
        assert joiner.shards[0].watermark_ms == 0
        feed.now = 11
        joiner.step(0)
        lifted = joiner.shards[0].watermark_ms
        assert T + 2_990 <= lifted <= T + 2_990 + 2_000
        feed.store.close_feed(feed.name, 0)
        while joiner.shards[0].windows or not joiner.shards[0].ending:
            joiner.step(5)
        assert joiner.shards[0].counters["unlabelled"] == 300
        balanced(feed)


def test_too_many_samples_pause_the_joiner_until_they_are_trimmed(broker: Running, store_server: Running) -> None:
    feed = Feed(broker, store_server, stream_bound=10)
    with feed.undo:
        joiner = feed.joiner()
        feed.predict(*range(30))
        feed.report(*range(15))
        run(joiner, 45)
        feed.report(*range(15, 30))
        assert [joiner.step(30) for _ in range(3)] == [0, 0, 0]
        feed.store.trim(feed.name, 0, joiner.shards[0].last_id)
        run(joiner, 15)
        assert joiner.shards[0].unread == 15


@pytest.mark.parametrize(
    ("move", "error"),
    [
        (Move("", 0, 3, last=2, crc=12345), "another record"),
        (Move("", 0, 9), "the log ends at 5"),
    ],
)
def test_another_log_than_the_one_that_was_read_is_seen(feed: Feed, move: Move, error: str) -> None:
    feed.predict(*range(5))
    step = Step("t", Rules(HOUR_MS, HOUR_MS, 0, HOUR_MS))
    step.moves = [Move(tp_name(feed.tps[0]), *(getattr(move, f) for f in Move.__struct_fields__[1:]))]
    feed.store.step(feed.name, 0, step)
    with pytest.raises(LogReplaced, match=error):
        feed.joiner()


class TestOnApacheKafka:
    """What the embedded broker cannot do: transactions that stay hidden, retention, files to damage."""

    @pytest.fixture(autouse=True)
    def _only(self, broker: Running) -> None:
        if broker.kind == "embedded":
            pytest.skip("not on the embedded broker")

    def test_aborted_transactions_are_holes(self, feed: Feed) -> None:
        producer = KafkaProducer(bootstrap_servers=feed.broker, transactional_id=feed.name)
        producer.init_transactions()
        for n, end in ((1, producer.abort_transaction), (2, producer.commit_transaction)):
            producer.begin_transaction()
            producer.send(feed.tps[1].topic, b'{"label":1}', b"id%d" % n, partition=0, timestamp_ms=T)
            producer.flush()
            end()
        producer.close()
        feed.predict(1, 2)
        joiner = feed.joiner()
        run(joiner, 3)
        deadline = time.monotonic() + 300
        while (at := joiner.shards[0].partitions[tp_name(feed.tps[1])]).next < 4:
            assert time.monotonic() < deadline
            joiner.step(50)
        assert (at.next, at.records, at.holes) == (4, 1, 3)
        assert feed.labels() == {"id2": 1}

    def test_retention_that_overtook_the_joiner_is_seen(self, feed: Feed) -> None:
        feed.predict(*range(10))
        with closing(KafkaAdminClient(bootstrap_servers=feed.broker)) as admin:
            admin.delete_records({TopicPartition(*feed.tps[0]): 4})
        with pytest.raises(LostRange, match="starts at 4"):
            feed.joiner()

    def test_a_batch_with_a_flipped_byte_is_rejected_by_position(self, feed: Feed, broker: Running) -> None:
        for batch in ((0, 1), (2, 3, 4), (5,)):
            feed.predict(*batch)
        log = next(broker.folder.glob(f"**/{feed.tps[0].topic}-0/*.log"))
        data = bytearray(log.read_bytes())
        data[data.index(b'"id3"') + 1] ^= 1
        log.write_bytes(data)
        joiner = feed.joiner()
        run(joiner, 3)
        joiner.step(100)
        at = joiner.shards[0].partitions[tp_name(feed.tps[0])]
        assert (at.next, at.records, at.rejected, at.holes) == (6, 3, 3, 0)
        assert [dict(letter.headers)["end"] for letter in feed.letters(1)] == [b"5"]
