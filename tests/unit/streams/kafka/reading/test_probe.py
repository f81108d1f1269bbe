"""A question to a broker that goes away meanwhile: no answer does not mean that there are no records."""

from collections.abc import Callable
from typing import Any

import pytest
from kafka import TopicPartition

from streams.errors import BrokerUnreachable
from streams.kafka import Tp
from streams.kafka.reading.probe import Probe

TP = Tp("outcomes", 0)


class Silent:
    """A consumer that has heard of 100 records before its broker went away; `moves`: it passes holes."""

    def __init__(self, moves: int) -> None:
        self._moves, self._at = moves, 0

    def seek(self, _: Any, offset: int) -> None:
        self._at = offset

    def highwater(self, _: Any) -> int:
        return 100

    def poll(self, **_: int) -> dict[TopicPartition, list[Any]]:
        self._at += self._moves
        return {}

    def position(self, _: Any) -> int:
        return self._at

    def close(self, **_: Any) -> None:
        pass


def connect(moves: int) -> Callable[[Any], Any]:
    return lambda _: Silent(moves)


def test_a_record_that_did_not_come_is_not_taken_for_another() -> None:
    """Found by chaos, seed 11: a broker killed between two answers made a joiner say that its log was replaced."""
    with pytest.raises(BrokerUnreachable, match="no answer about outcomes/0"):
        Probe(connect(0)).read(TP, 7)


def test_a_position_that_only_holds_a_marker_has_no_record() -> None:
    assert Probe(connect(1)).read(TP, 7) is None
