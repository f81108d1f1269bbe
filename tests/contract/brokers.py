"""What the tests of all brokers share: what each broker cannot do, and topics to write and read."""

import itertools
import time

import pytest

from streams.kafka import Polled, Sink, Source, Tp, ensure_topics
from tests.conftest import Running

NAMES = {"embedded": "tansu", "external": "apache kafka"}
CANNOT: dict[str, dict[str, str]] = {
    "tansu": {
        "aborted transactions": "shows them to read_committed readers",
        "refusals": "takes every record, of any size and time",
        "out of range": "answers a fetch beyond the end with nothing, not with an error; `at_end` still notices",
        "delete records": "closes the connection",
        "added partitions": "does not know the request",
        "files": "keeps its log in memory: there is none to damage, and nothing after a restart",
    },
    "apache kafka": {},
}
T = 1_360_000_000_000  # event times of the past
NUMBER = itertools.count()


def needs(broker: Running, ability: str) -> None:
    """Skip the test, with the reason, where the broker cannot do it."""
    name = NAMES[broker.kind]
    if ability in CANNOT[name]:
        pytest.skip(f"{name} {CANNOT[name][ability]}")


def fresh(broker: Running, partitions: int = 1) -> list[Tp]:
    """Create a topic; return its partitions."""
    topic = f"contract{next(NUMBER)}"
    ensure_topics(broker.address, {topic: partitions})
    return [Tp(topic, n) for n in range(partitions)]


def write(sink: Sink, tp: Tp, count: int, first: int = 0) -> None:
    """Write records k<n>, v<n>, and wait until the broker has acknowledged them."""
    for n in range(first, first + count):
        sink.send(tp, key=b"k%d" % n, value=b"v%d" % n, t_ms=T + n)
    sink.flush()


def drain(source: Source, positions: int) -> list[Polled]:
    """Poll until the source has passed so many offsets."""
    polls: list[Polled] = []
    deadline = time.monotonic() + 300  # for a broker that never answers
    while sum(p.end - p.start for p in polls) < positions:
        assert time.monotonic() < deadline, f"{positions} positions did not come: {polls}"
        polls += source.poll(100, 1_000)
    return polls


def values(polls: list[Polled]) -> list[bytes]:
    """Return the records' values in the order in which they came."""
    return [record.value or b"" for polled in polls for record in polled.records]
