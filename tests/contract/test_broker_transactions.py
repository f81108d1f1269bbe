"""Transactions: readers see all or nothing, a zombie is fenced, and markers are holes."""

from contextlib import closing, suppress

import pytest

from streams.errors import BrokerRefused, RecordTooLarge
from streams.kafka import Sink, Source, Tp
from tests.conftest import Running
from tests.contract.brokers import T, drain, fresh, needs, values


class Broken(Exception):
    """Raised inside a transaction."""


def send(sink: Sink, tp: Tp, value: bytes) -> None:
    sink.send(tp, key=b"k", value=value, t_ms=T)


def abort(sink: Sink, tp: Tp, value: bytes) -> None:
    with suppress(Broken), sink.transaction():
        send(sink, tp, value)
        sink.flush()
        raise Broken


def test_what_is_committed_is_seen_at_its_positions(broker: Running) -> None:
    tps = fresh(broker, 2)
    with closing(Sink(broker.address, transactional_id=tps[0].topic)) as sink:
        for n in range(2):
            with sink.transaction():
                for tp in tps:
                    send(sink, tp, b"%d" % n)
        with sink.transaction():
            pass
    with closing(Source(broker.address, tps)) as source:
        polls = drain(source, 8)  # a transaction's end takes a position in each of its partitions
        assert sorted(values(polls)) == [b"0", b"0", b"1", b"1"]
        assert [source.ends()[tp] for tp in tps] == [source.position(tp) for tp in tps] == [4, 4]


def test_aborted_records_are_holes(broker: Running) -> None:
    """Not on Tansu: it shows them to a reader that asks for committed records only."""
    (tp,) = fresh(broker)
    with closing(Sink(broker.address, transactional_id=tp.topic)) as sink:
        abort(sink, tp, b"aborted")
        with sink.transaction():
            send(sink, tp, b"committed")
    with closing(Source(broker.address, [tp])) as source:
        if broker.kind == "embedded":
            assert values(drain(source, 2)) == [b"aborted", b"committed"], "CANNOT names a defect that is gone"
        needs(broker, "aborted transactions")
        polls = drain(source, 4)
        assert values(polls) == [b"committed"]
        assert (polls[0].start, polls[-1].end) == (0, 4)


def test_a_refused_record_takes_its_transaction_with_it(broker: Running) -> None:
    needs(broker, "aborted transactions")
    (tp,) = fresh(broker)
    with closing(Sink(broker.address, transactional_id=tp.topic)) as sink:
        with pytest.raises(RecordTooLarge):
            spoil(sink, tp)
        with sink.transaction():
            send(sink, tp, b"committed")
    with closing(Source(broker.address, [tp])) as source:
        assert values(drain(source, 4)) == [b"committed"]


def spoil(sink: Sink, tp: Tp) -> None:
    with sink.transaction():
        send(sink, tp, b"aborted")
        sink.flush()
        send(sink, tp, bytes(1 << 21))


def test_a_zombie_is_fenced_and_what_it_left_open_is_aborted(broker: Running) -> None:
    (tp,) = fresh(broker)
    with closing(Sink(broker.address, transactional_id=tp.topic)) as zombie:
        open_one = zombie.transaction()
        open_one.__enter__()
        send(zombie, tp, b"zombie")
        zombie.flush()
        with closing(Sink(broker.address, transactional_id=tp.topic)) as successor, successor.transaction():
            send(successor, tp, b"successor")
        send(zombie, tp, b"zombie again")
        with pytest.raises(BrokerRefused, match=f"another writer has taken over the transactional id '{tp.topic}'"):
            open_one.__exit__(None, None, None)
    with closing(Source(broker.address, [tp])) as source:
        needs(broker, "aborted transactions")
        assert values(drain(source, 4)) == [b"successor"]
