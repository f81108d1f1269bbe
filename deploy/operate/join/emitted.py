"""The samples that a join emitted, wherever they went: commits, a topic, Parquet files, or still the stream.

Owns reading them from there. Does not know what they should be.
"""

from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import msgspec

from deploy.operate.attach import Attached
from deploy.registry.commits import backwards
from deploy.registry.learned import read_sample
from deploy.registry.registry import Registry
from learners.commits.voids import slots
from streams.audit.verify import Emitted
from streams.errors import ConfigError, HistoryChanged
from streams.join.store import NOTHING
from streams.kafka.reading.scan import records
from streams.outputs.samples import number
from streams.outputs.topic import VOID, position_of

PAGE = 1_000
Samples = Iterator[tuple[int, Emitted]]  # each sample with its number in its shard
Ends = dict[int, str]  # by shard, the position in its stream of the last sample that was read


def emitted(attached: Attached) -> Samples:
    """Yield every sample that the join emitted: those that were written elsewhere, then those still in the stream.

    Raises:
        ConfigError: a reader of the stream has taken samples, and wrote them nowhere that is known.
        HistoryChanged: the store does not hold the position at which the others end.
    """
    ends = dict.fromkeys(range(attached.shards), NOTHING)
    if attached.registry:
        yield from _in_commits(attached.registry, ends)
    else:
        yield from WRITTEN[attached.settings.output.to](attached, ends)
    for shard, position in ends.items():
        while page := attached.store.read(attached.feed.name, shard, position, PAGE):
            yield from ((number(entry), _emitted(sample)) for entry, sample, _ in page)
            position = page[-1].position


def _in_commits(registry: Registry, ends: Ends) -> Samples:
    newest = next(backwards(registry))
    ends.update((int(shard), position) for shard, position in newest.positions.items())
    for commit in backwards(registry):
        for slot, sample in zip(slots(commit), commit.samples, strict=True):
            yield slot.number, _emitted(sample)
        for one in commit.quarantined:
            yield number(one.position), _emitted(one.sample)


def _in_stream(attached: Attached, ends: Ends) -> Samples:
    """Yield nothing: all samples are still in the stream, or else it raises."""
    for shard in ends:
        try:
            attached.store.read(attached.feed.name, shard, NOTHING, 1)
        except HistoryChanged:
            raise ConfigError(
                f"a reader took samples from the stream of shard {shard}, and only it knows them: output.to must be "
                "'topic' or 'parquet' for them to be compared"
            ) from None
    yield from ()


def _in_topic(attached: Attached, ends: Ends) -> Samples:
    """Yield the samples of the topic; a record of kind void takes back those after its position."""
    for shard in ends:
        samples: list[tuple[str, bytes]] = []
        with attached.source([attached.samples(shard)]) as source:
            for record in records(source):
                position = position_of(record)
                if dict(record.headers).get("kind") == VOID.encode():
                    samples = [(at, sample) for at, sample in samples if number(at) <= number(position)]
                else:
                    samples.append((position, record.value or b""))
        for position, sample in samples:
            ends[shard] = position
            yield number(position), _emitted(sample)


def _in_parquet(attached: Attached, ends: Ends) -> Samples:
    table: Callable[..., Any] = import_module("pyarrow.parquet").read_table
    names = ["id", "revision", "kind", "label", "position"]
    for shard in ends:
        for path in sorted((Path(attached.settings.output.path) / f"shard={shard}").glob("*.parquet")):
            for row in table(path, columns=names, partitioning=None).to_pylist():
                label = msgspec.json.decode(row["label"]) if isinstance(row["label"], str) else row["label"]
                ends[shard] = row["position"]
                yield number(ends[shard]), Emitted(row["id"], row["revision"], row["kind"], label)


def _emitted(sample: bytes | str) -> Emitted:
    one = read_sample(sample)
    return Emitted(one.id, one.revision, one.kind, one.label)


WRITTEN: dict[str, Callable[[Attached, Ends], Samples]] = {
    "stream": _in_stream, "topic": _in_topic, "parquet": _in_parquet,
}  # fmt: skip
