"""Dead letters: listed, shown, and brought back through the join after a fix."""

import json
from contextlib import closing
from io import StringIO

import msgspec
import pytest
from kafka import KafkaAdminClient, TopicPartition
from rich.console import Console

from deploy.cli.commands import app
from deploy.console.join.dead import show_list, show_one
from deploy.operate.join import dead as letters
from streams.dead import DeadLetters, Letter
from streams.errors import BrokerUnreachable, ConfigError
from streams.events import Record
from streams.kafka import Sink, Tp
from tests.integration.join.operated import FIXED, Make, T, audited


class TestDeadLetters:
    def test_after_a_fix_they_come_back_through_the_join_once(self, make: Make) -> None:
        world = make()
        world.predict(*range(6))
        world.report(0, 1)
        world.report(2, 3, spoilt=b"#", headers=[("from", b"a test")])
        world.report(4, spoilt=b"#" * 100_000)
        world.join(11)
        listing = letters.listed(world.path, world.settings)
        assert (listing.positions, sum(listing.reasons.values())) == (3, 3)
        assert [row.bytes for row in listing.rows] == [12, 12, 100_011]
        world.reads(FIXED)
        first = f"{world.outcome_tps[0].topic}/0/2"
        assert letters.replay(world.path, world.settings, positions=[first, first]).done == [first]
        assert len(letters.replay(world.path, world.settings, reason="not JSON").done) == 2
        assert letters.replay(world.path, world.settings, reason="not JSON").done == []
        again = world.in_log(world.outcome_tps[0])[5:]
        headers = [("t", b"%d" % (T + 3)), ("from", b"a test"), ("replayed", first.encode())]
        assert (again[0].key, again[0].value, list(again[0].headers)) == (b"id2", b'#{"label":0}', headers)
        assert again[2].value is not None
        assert len(again[2].value) == 100_011
        world.join(3)
        assert (world.count("joined"), world.count("outcome_duplicate")) == (5, 0)
        report = audited(world)
        assert (report["verdict"]["differing"], report["verdict"]["agreed"], sum(report["rejected"].values())) == (
            0,
            6,
            3,
        )

    def test_a_header_t_that_is_no_time_comes_back_as_it_was(self, make: Make) -> None:
        world = make()
        world.report(1, headers=[("t", b"tomorrow")])
        world.join(1)
        (row,) = letters.listed(world.path, world.settings).rows
        assert row.reason.endswith("found b'tomorrow'")
        assert letters.replay(world.path, world.settings, reason="header").done == [row.position]
        again = world.in_log(world.outcome_tps[0])[1]
        assert [value for name, value in again.headers if name == "t"][-1] == b"tomorrow"

    def test_a_position_is_listed_once_however_many_letters_there_are(
        self, make: Make, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        world = make(partitions=2)
        record = Record(*world.outcome_tps[1], 7, T, T, None, b"\xff\x00", (("h", b"\xfe"),))
        one = Letter(world.outcome_tps[1], 7, 8, "[no] good", record)
        dead = DeadLetters(world.sink, world.attached.readers.dead_letters)
        dead.put([one, one])
        dead.put([Letter(world.outcome_tps[0], 3, 9, "a flipped byte", None), one])
        dead.flush()
        shown = StringIO()
        console = Console(file=shown, width=200)
        listing = letters.listed(world.path, world.settings)
        show_list(console, listing)
        assert "2 dead letters" in shown.getvalue()
        rows = {row.reason: row for row in listing.rows}
        monkeypatch.setattr("deploy.cli.operate.settings", lambda *_: world.settings)
        app(["dead", "list", str(world.path), "--json"], standalone_mode=False)
        assert json.loads(capsys.readouterr().out.splitlines()[-1]) == msgspec.to_builtins(listing)
        assert (rows["[no] good"].copies, rows["a flipped byte"].end) == (3, 9)
        show_one(console, letters.letter(world.path, world.settings, f"{world.outcome_tps[1].topic}/1/7"))
        for part in ("reason: [no] good", "ff 00", "header h: b'\\xfe'", "key: None"):
            assert part in shown.getvalue()
        lost = letters.replay(world.path, world.settings, positions=[f"{world.outcome_tps[0].topic}/0/3"])
        assert [why for _, why in lost.refused] == [
            "its bytes could not be read, so there is no record to publish again"
        ]
        with pytest.raises(ConfigError, match="there is no dead letter of 'x/0/1'"):
            letters.letter(world.path, world.settings, "x/0/1")
        with pytest.raises(ConfigError, match="not both"):
            letters.replay(world.path, world.settings)

    def test_a_letter_that_was_cut_needs_its_record_in_the_topic(self, make: Make) -> None:
        world = make()
        world.report(1)
        record = Record(*world.outcome_tps[0], 0, T, T, b"id1", b"x" * 70_000)
        gone = record._replace(offset=5)
        dead = DeadLetters(world.sink, world.attached.readers.dead_letters)
        dead.put([Letter(world.outcome_tps[0], r.offset, r.offset + 1, "large", r) for r in (record, gone)])
        dead.flush()
        done = letters.replay(world.path, world.settings, reason="large")
        assert done.done == []
        assert [why.rpartition(" offset ")[2] for _, why in done.refused] == [
            "0 has another record now",
            "5 is not in the topic any more",
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

        breaking = Breaking(world.attached.broker, transactional_id=f"{world.name}.replay")
        with monkeypatch.context() as patch:
            patch.setattr(letters, "_sink", lambda _: breaking)
            with pytest.raises(BrokerUnreachable):
                letters.replay(world.path, world.settings, reason="not JSON")
        assert [record.offset for record in world.in_log(world.outcome_tps[0])] == [0]
        assert len(letters.replay(world.path, world.settings, reason="not JSON").done) == 1
        assert len(world.in_log(world.outcome_tps[0])) == 2

    def test_what_is_summed_up_is_counted_listed_shown_and_replayed_position_by_position(self, make: Make) -> None:
        world = make(shards=2)
        world.predict(*range(40))
        for start in range(0, 40, 8):  # every other one is spoilt
            for n in range(start, start + 8):
                world.report(n, spoilt=b"#" if n % 2 else b"")
            world.join(8 + 40 * (start == 0), letters_per_minute=2)
        topic = world.outcome_tps[0].topic
        held = world.attached.store.shard(world.name, 0).partitions[f"{topic}:0"].held
        assert held
        assert world.attached.store.shard(world.name, 1).partitions[f"{topic}:0"].held == ""
        listing = letters.listed(world.path, world.settings)
        assert (listing.positions, sum(listing.reasons.values()), listing.letters) == (20, 20, 11)
        report = audited(world)
        assert (sum(report["rejected"].values()), report["verdict"]["differing"]) == (20, 0)
        shown = letters.letter(world.path, world.settings, f"{topic}/0/7")
        assert shown.letter.record is not None
        assert (shown.letter.record.value, shown.positions) == (b'#{"label":1}', 1)
        with pytest.raises(ConfigError, match="there is no dead letter"):
            letters.letter(world.path, world.settings, f"{topic}/0/8")
        world.reads(FIXED)
        assert letters.replay(world.path, world.settings, positions=[f"{topic}/0/7"]).done == [f"{topic}/0/7"]
        again = letters.replay(world.path, world.settings, reason="not JSON")
        assert (len(again.done), len(set(again.done)), again.refused, again.before) == (19, 19, [], 1)
        none = letters.replay(world.path, world.settings, reason="not JSON")
        assert (none.done, none.before) == ([], 20)
        world.join(20)
        assert (world.count("joined"), world.count("outcome_duplicate")) == (40, 0)
        assert audited(world)["verdict"]["differing"] == 0

    @pytest.mark.usefixtures("only_kafka")
    def test_what_retention_took_of_a_sum_is_said_and_the_rest_is_replayed(self, make: Make) -> None:
        world = make()
        world.report(*range(10), spoilt=b"#")
        world.join(10, letters_per_minute=1)
        topic = world.outcome_tps[0]
        with closing(KafkaAdminClient(bootstrap_servers=world.settings.kafka.bootstrap)) as admin:
            admin.delete_records({TopicPartition(*topic): 4})
        world.reads(FIXED)
        replayed = letters.replay(world.path, world.settings, reason="not JSON")
        assert len(replayed.done) == 7  # the first has a letter of its own
        ((position, why),) = replayed.refused
        assert position == f"{topic.topic}/0/1"
        assert "3 of the positions 1 to 3 that the letter sums up are not in the topic any more" in why
