"""A header `t` is read rightly or refused: in ms, in ISO text, in seconds; and a letter keeps it as it was."""

import subprocess
import sys
from collections.abc import Callable
from contextlib import closing

import pytest

from deploy.serving.server import _bounded
from streams.errors import MalformedEvent
from streams.events import Request
from streams.kafka import Sink, Source, Tp
from streams.kafka.reading.scan import records
from streams.moments import UNREADABLE_MS
from tests.cases import case
from tests.cases.join import NOW, Join
from tests.clicks import record

ISO = b"2026-09-21T14:13:20.123Z"
FEED = """
from shadowstream import Feed, fields
feed = Feed(name="{name}", prediction=fields(id="id"), outcome=fields(id="id", label="y"))
"""


@case("streams/06", "the first hour")
def test_a_header_t_in_the_join(joining: Callable[..., Join]) -> None:
    join = joining("headers", feed=FEED)
    tp = Tp("headers.predictions", 0)
    with closing(Sink(join.broker)) as sink:
        for n, t in enumerate((b"%d" % NOW, ISO, b"%d" % (NOW // 1_000), b"yesterday", b"-1", b"9" * 5_000)):
            sink.send(tp, key=None, value=b'{"id":"o%d"}' % n, t_ms=NOW, headers=[("t", t)])
        sink.flush()
    counted = join.settled(6)
    assert counted["predictions"] == 2
    refused = "header 't' must be the time, in ms since 1970 or in ISO 8601 with an offset; found "
    seconds, *others = join.letters()
    assert seconds == f"{refused}{b'%d' % (NOW // 1_000)!r}, which is seconds"
    assert [one.startswith(refused) for one in others] == [True] * 3
    shown = subprocess.run(
        [sys.executable, "-m", "deploy.cli.main", "dead", "list", "feed.py"],
        cwd=join.folder, env=join.environment, capture_output=True, text=True, check=True, timeout=300,
    )  # fmt: skip
    assert shown.stdout.count("unknown") == 4, shown.stdout
    assert str(UNREADABLE_MS) not in shown.stdout
    with closing(Source(join.broker, [tp])) as source:
        assert [one.t_ms for one in records(source)][:2] == [NOW, 1_790_000_000_123]


@case("streams/06", "the first hour")
def test_a_request_without_a_time_is_refused() -> None:
    source = record(b"{}", b"k", ("t", b"1790000000"))._replace(t_ms=-1 << 60)
    with pytest.raises(MalformedEvent, match=r"header 't' .* found b'1790000000', which is seconds"):
        _bounded(source, Request("k", source.t_ms, b"{}"), 9_000)
    assert _bounded(source, Request("k", 0, b"{}"), 9_000).t_ms == 0
