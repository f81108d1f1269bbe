"""Events from files: what a line may be, and in which order they happened."""

import gzip
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import zstandard
from msgspec.structs import replace as with_

from deploy.backtest.events import Events, between, of_files
from deploy.backtest.lines import lines
from deploy.backtest.log import Log, LogSink, LogSource
from deploy.config import Settings, Topics
from shadowstream import fields
from streams.errors import ConfigError, LostRange
from streams.kafka import Tp
from tests import small

T_MS = 1_357_000_000_000
X = '{"x": [0, 0, 0, 0]}'


def written(folder: Path, requests: str, outcomes: str = "") -> tuple[Path, Path]:
    paths = folder / "requests.jsonl", folder / "outcomes.jsonl"
    for path, text in zip(paths, (requests, outcomes), strict=True):
        path.write_text(text)
    return paths


def ids(of: Events) -> list[tuple[str, str]]:
    return [(one.record.topic.rpartition(".")[2], (one.record.key or b"").decode()) for one in of.happened]


def test_a_line_is_a_record_or_its_value(tmp_path: Path) -> None:
    text = f'{{"key": 7, "t": {T_MS}, "value": {X}, "headers": {{"a": "b"}}}}\n\n{{"id": "q", "value": 2}}\nnot JSON\n'
    path, _ = written(tmp_path, text)
    first, second, third = lines(path, "small.requests")
    assert (first.key, first.t_ms, first.value, first.headers) == (b"7", T_MS, X.encode(), (("a", b"b"),))
    assert (second.key, second.value) == (None, b'{"id": "q", "value": 2}')
    assert second.t_ms < 0  # a reader that takes the record's time refuses it
    assert third.value == b"not JSON"
    assert [one.offset for one in (first, second, third)] == [0, 2, 3]


def test_events_come_in_the_order_of_their_times(tmp_path: Path) -> None:
    asked = "".join(f'{{"key": "{key}", "t": {T_MS + t}, "value": {X}}}\n' for key, t in (("a", 5), ("b", 1)))
    told = '{"key": "b", "t": "2013-01-01T00:26:40.003Z", "value": {"label": 1}}\nbroken\n'
    events = of_files(small.pipeline, Settings(), *written(tmp_path, asked, told))
    assert ids(events) == [("requests", "b"), ("outcomes", "b"), ("outcomes", ""), ("requests", "a")]
    assert [one.t_ms - T_MS for one in events.happened] == [1, 3, 3, 5]
    assert ids(between(events, T_MS + 1, T_MS + 3)) == [("outcomes", "b"), ("outcomes", "")]


def test_a_reader_that_names_its_fields_needs_no_key(tmp_path: Path) -> None:
    pipeline = replace(small.pipeline, outcome=fields(id="visit", t="at", label="y"))
    paths = written(tmp_path, "", f'{{"visit": "v1", "at": {T_MS}, "y": 1}}\n')
    assert [one.t_ms for one in of_files(pipeline, Settings(), *paths).happened] == [T_MS]


def test_a_key_says_in_which_partition_a_record_is(tmp_path: Path) -> None:
    settings = with_(Settings(), topics=Topics(partitions=3))
    text = "".join(f'{{"key": "k{n}", "t": {T_MS}, "value": {X}}}\n' for n in range(20))
    events = of_files(small.pipeline, settings, *written(tmp_path, text))
    assert {one.record.partition for one in events.happened} == {0, 1, 2}
    assert set(events.partitions.values()) == {3}


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"cannot read .*gone.jsonl: No such file"):
        of_files(small.pipeline, Settings(), tmp_path / "gone.jsonl", tmp_path / "gone.jsonl")


def test_a_log_in_memory_is_read_once() -> None:
    log, tp = Log({"a": 1}), Tp("a", 0)
    sink, source = LogSink(log, 1_000), LogSource(log, [tp], numbered=True)
    for n in range(5):
        sink.send(tp, key=b"k%d" % n, value=None, t_ms=n)
    assert sink.flush() == {tp: 5}
    assert sink.flush() == {}
    (first,) = source.poll(0, 3)
    assert (first.start, first.end, [one.offset for one in first.records]) == (0, 3, [0, 1, 2])
    assert not source.at_end(tp)
    assert source.read(tp, 2) == first.records[-1]
    assert source.read(tp, 1) is None
    source.pause([tp])
    assert source.poll(0, 3) == []
    source.resume([tp])
    assert [one.end for one in source.poll(0, 3)] == [5]
    assert source.at_end(tp)
    source.seek(tp, 5)
    with pytest.raises(LostRange, match="the next offset is 2, but what is left starts at 5"):
        source.seek(tp, 2)


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (f'{{"key": "a", "value": {X}}}', "t is missing, and the pipeline takes a record's own time"),
        (X, "t is missing, and the pipeline takes a record's own time"),
        (f'{{"key": "a", "time": {T_MS}, "value": {X}}}', r"t is missing.* Found .\{.key.: .a., .time.:"),
        (f'{{"key": "a", "t": {T_MS}.5, "value": {X}}}', r"Expected `int \| str \| null`, got `float` - at `\$.t`"),
        (f'{{"key": 1.5, "t": {T_MS}, "value": {X}}}', r"got `float` - at `\$.key`"),
        (f'{{"t": {T_MS}, "value": {X}, "headers": {{"a": 1}}}}', r"got `int` - at `\$.headers"),
        (f'{{"key": "a", "t": {T_MS // 1000}, "value": {X}}}', "t is 1357000000, which is seconds"),
        (f'{{"key": "a", "t": {T_MS}000, "value": {X}}}', "t is 1357000000000000, which is microseconds"),
        (f'{{"key": "a", "t": -7, "value": {X}}}', "t is -7, before 1970"),
        (f'{{"key": "a", "t": "2013-01-01", "value": {X}}}', "t is '2013-01-01', and it has no time of day"),
        (f'{{"key": "a", "t": "{T_MS // 1000}", "value": {X}}}', "t is '1357000000': t is in milliseconds"),
    ],
)
def test_a_line_whose_fields_are_wrong_is_named_with_what_is_right(tmp_path: Path, line: str, why: str) -> None:
    good = f'{{"key": "b", "t": {T_MS}, "value": {X}}}\n'
    with pytest.raises(ConfigError, match=rf"requests\.jsonl, line 2: .*{why}") as raised:
        of_files(small.pipeline, Settings(), *written(tmp_path, good + line + "\n"))
    assert "\n" not in str(raised.value)
    assert "milliseconds since 1970" in str(raised.value)
    assert len(str(raised.value)) < 500


def test_a_reader_of_its_own_time_needs_none_of_the_line(tmp_path: Path) -> None:
    pipeline = replace(small.pipeline, outcome=fields(id="visit", t="at", label="y"))
    told = f'{{"visit": "v1", "y": 1}}\n{{"visit": "v1", "at": {T_MS}, "y": 1, "value": 3}}\n'
    assert [one.t_ms for one in of_files(pipeline, Settings(), *written(tmp_path, "", told)).happened] == [0, T_MS]


@pytest.mark.parametrize("pack", [gzip.compress, zstandard.ZstdCompressor().compress])
def test_a_compressed_file_is_read_as_the_text_in_it(tmp_path: Path, pack: Callable[[bytes], bytes]) -> None:
    text = "".join(f'{{"key": "k{n}", "t": {T_MS + n}, "value": {X}}}\n' for n in range(20)).encode()
    path, packed = tmp_path / "a.jsonl", tmp_path / "b"
    path.write_bytes(text)
    packed.write_bytes(pack(text))
    assert [*lines(packed, "small.requests")] == [*lines(path, "small.requests")]
    packed.write_bytes(pack(text)[:-8])
    with pytest.raises(ConfigError, match=r"cannot read .*/b: "):
        list(lines(packed, "small.requests"))


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"key,t,value\na,1357004580000,1\n", r"has no line of JSON: a line is .* Found 'key,t,value'"),
        (b"PAR1\x15\x04\n\x15", "has no line of JSON; it is Parquet"),
        (b"PK\x03\x04\n", "has no line of JSON; it is a zip file"),
    ],
)
def test_a_file_of_another_kind_is_refused_with_what_is_right(tmp_path: Path, data: bytes, why: str) -> None:
    path = tmp_path / "events"
    path.write_bytes(data)
    with pytest.raises(ConfigError, match=why):
        list(lines(path, "small.requests"))
    with pytest.raises(ConfigError, match=r"cannot read .*: Is a directory"):
        list(lines(tmp_path, "small.requests"))


def test_a_file_without_a_line_has_no_event(tmp_path: Path) -> None:
    assert not of_files(small.pipeline, Settings(), *written(tmp_path, "\n \n")).happened


def test_files_in_the_wrong_order_are_seen_before_anything_is_learned(tmp_path: Path) -> None:
    asked = f'{{"key": "a", "t": {T_MS}, "value": {X}}}\n'
    told = f'{{"key": "a", "t": {T_MS}, "value": {{"label": 1}}}}\n'
    with pytest.raises(ConfigError, match=r"outcomes\.jsonl has no line that is an outcome: line 1: .*`label`"):
        of_files(small.pipeline, Settings(), *written(tmp_path, told, asked))
    assert len(of_files(small.pipeline, Settings(), *written(tmp_path, asked, asked + told)).happened) == 3
