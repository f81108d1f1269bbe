"""Where events are, by their ids: the registry's files, the topics, the dead letters, the store, the files of samples.

Owns where to look. What it finds is a place, and never an id. Does not know what is done with it.
"""

import re
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any
from zlib import crc32

from deploy.config import Settings
from deploy.operate.attach import Attached, attach
from deploy.pipeline import Pipeline
from deploy.registry.commits import read
from deploy.registry.kinds import BLOBS, CANDIDATES, COMMITS, EVALUATOR
from deploy.registry.receipts import Trace, digests
from deploy.registry.records import Candidate, Engine
from deploy.registry.registry import Registry
from deploy.registry.states.names import listed
from learners.commits.forget import id_of, learned
from streams.dead.letters import REPLAYED
from streams.dead.letters import read as read_letter
from streams.errors import ShadowstreamError
from streams.events import Event, Record
from streams.join.batch import LAST_TIME_MS, Readers, decode
from streams.kafka import Polled, Tp
from streams.kafka.reading.scan import scan
from streams.kafka.records import tp_name
from streams.kafka.topics import look
from streams.readers import Reader

Ids = frozenset[str]
Find = Callable[[Polled], Iterable[int]]  # the offsets of what was polled that hold an id
Mentions = Callable[[Record], bool]


def traces(path: Path, settings: Settings, pipeline: Pipeline, registry: Registry, ids: Ids) -> list[Trace]:
    """Return the places that hold events of these ids, and those into which nobody can look now."""
    topics, files = settings.topics.named(pipeline.name), Path(settings.output.path)
    names = f"{topics.requests}, {topics.predictions}, {topics.outcomes}, {topics.dead}"
    return [
        *_in_registry(registry, ids),
        *_looked("records", names, partial(_in_topics, path, settings, pipeline, ids)),
        *_looked("entries of the store", pipeline.name, partial(_in_store, path, settings, ids)),
        *(_looked("samples", str(files), partial(_in_files, files, ids)) if settings.output.to == "parquet" else ()),
    ]


def _looked(what: str, where: str, look: Callable[[], Iterable[Trace]]) -> list[Trace]:
    """Return what is found somewhere, or why nobody can look there."""
    try:
        return [trace for trace in look() if trace.found]
    except (ShadowstreamError, ImportError, OSError) as wrong:
        return [Trace(what=what, where=where, unknown=str(wrong))]


def _in_registry(registry: Registry, ids: Ids) -> Iterator[Trace]:
    """Yield files of commits that hold the ids, and what was made of these: states, artifacts, ranges of
    engines, summaries.
    """
    files, states, first = list[str](), list[str](), registry.last(COMMITS) + 1
    kept = {*registry.objects.list(BLOBS)}
    for n in range(registry.begins(), first):
        commit = read(registry, n)
        holds = bool(learned([commit], ids))
        if holds or any(id_of(one.sample) in ids for one in commit.quarantined):
            files.append(registry.place(COMMITS, n))
        first = min(first, n) if holds else first
        if n >= first and commit.state and f"{BLOBS}/{commit.state}" in kept:
            states.append(commit.state)
    made = [
        blob
        for one in registry.records(CANDIDATES)
        if one.commit >= first
        for blob in _blobs(one)
        if f"{BLOBS}/{blob}" in kept
    ]
    blobs = registry.home.of(BLOBS)
    summaries = [name for number, name in registry.folds(EVALUATOR.name).names() if number >= first]
    found_in = (
        ("commits", registry.home, [*dict.fromkeys(files)]),
        ("states", blobs, states),
        ("states", registry.home, [name.object for name in listed(registry.objects) if name.number >= first]),
        ("artifacts", blobs, made),
        ("summaries", registry.home, summaries),
    )
    for what, where, found in found_in:
        if found:
            yield Trace(what=what, where=str(where), found=found)


def _blobs(candidate: Candidate) -> Iterator[str]:
    yield candidate.artifact
    if isinstance(candidate.engine, Engine) and candidate.engine.ranges:
        yield candidate.engine.ranges


def _in_topics(path: Path, settings: Settings, pipeline: Pipeline, ids: Ids) -> Iterator[Trace]:
    """Yield the records of the ids by partition, and those that could not be read and mention one."""
    topics, mentions = settings.topics.named(pipeline.name), _mentions(ids)
    with attach(path, settings) as attached:
        readers = attached.readers
        of: dict[str, Reader[Any]] = {topics.requests: pipeline.request, topics.predictions: readers.prediction}
        of |= {topics.outcomes: readers.outcome}
        of |= {attached.samples(0).topic: _keyed} if settings.output.to == "topic" else {}
        finds: dict[str, Find] = {name: _records(attached, name, one, ids, mentions) for name, one in of.items()}
        finds[topics.dead] = partial(_letters, mentions=mentions)
        for name, topic in look(attached.broker, finds).items():
            what = "dead letters" if name == topics.dead else "records"
            for tp in [Tp(name, n) for n in range(topic.partitions if topic else 0)]:
                yield Trace(what=what, where=tp_name(tp), found=[*map(str, _scanned(attached, tp, finds[name]))])


def _scanned(attached: Attached, tp: Tp, find: Find) -> list[int]:
    with attached.source([tp]) as source:
        ranges = {tp: (source.starts()[tp], source.ends()[tp])}
        return sorted(offset for polled in scan(source, ranges) for offset in find(polled))


def _records(attached: Attached, topic: str, reader: Reader[Any], ids: Ids, mentions: Mentions) -> Find:
    """Return what finds the records of the ids, and of those that their reader refuses the ones that mention an id."""
    readers = Readers(predictions=topic, outcomes="", dead_letters="", prediction=reader, outcome=reader)

    def find(polled: Polled) -> Iterator[int]:
        batch = decode(polled, readers, 1, attached.rules, LAST_TIME_MS)
        yield from (offset for offset, key in zip(batch.offsets, batch.ids, strict=True) if key in ids)
        yield from (one.start for one in batch.letters if one.record and mentions(one.record))

    return find


def _keyed(record: Record) -> Event:
    return Event((record.key or b"").decode(), 0, b"{}")


def _letters(polled: Polled, mentions: Mentions) -> Iterator[int]:
    """Yield the letters whose record mentions an id; one that sums up keeps no record, but its topic may."""
    for record in polled.records:
        refused = None if REPLAYED in dict(record.headers) else read_letter(record).record
        if refused and mentions(refused):
            yield record.offset


def _mentions(ids: Ids) -> Mentions:
    """Return what says whether key, value or headers of a record have one of the ids, as text and as a whole word."""
    any_id = b"|".join(re.escape(one.encode()) for one in sorted(ids))
    word = re.compile(rb"(?<![\w.-])(?:" + any_id + rb")(?!\.?[\w-])")

    def mentions(record: Record) -> bool:
        parts = (record.key, record.value, *(value for _, value in record.headers))
        return any(word.search(part) for part in parts if part)

    return mentions


def _in_store(path: Path, settings: Settings, ids: Ids) -> Iterator[Trace]:
    """Yield how many ids a shard still has an entry of: what waits, and markers of what is done, until they drop."""
    with attach(path, settings) as attached:
        for shard in range(attached.shards):
            own = [one for one in sorted(ids) if crc32(one.encode()) % attached.shards == shard]
            found = attached.store.entries(attached.feed.name, shard, own)
            where = f"shard {shard} of {attached.feed.name}"
            yield Trace(what="entries of the store", where=where, found=digests(found))


def _in_files(folder: Path, ids: Ids) -> Iterator[Trace]:
    table: Callable[..., Any] = import_module("pyarrow.parquet").read_table
    for path in sorted(folder.glob("shard=*/[0-9]*")):
        rows = table(path, columns=["id"], partitioning=None).to_pylist()
        found = sum(row["id"] in ids for row in rows)
        yield Trace(what="samples", where=str(path), found=[f"{found} rows"] if found else [])
