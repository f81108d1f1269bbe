"""The samples that a join emitted, wherever they went: commits, a topic, Parquet files, or still the stream.

Owns finding them there. Does not judge them.
"""

from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import msgspec

from deploy.operate.attach import Place
from deploy.registry.commits import backwards
from deploy.registry.learned import read_sample
from deploy.registry.registry import Registry
from learners.commits.voids import slots
from streams.audit.verify import Emitted
from streams.errors import ConfigError, HistoryChanged
from streams.join.store import NOTHING
from streams.kafka.scan import records
from streams.outputs.samples import number
from streams.outputs.topic import VOID, position_of

PAGE = 1_000
Found = Iterator[tuple[int, Emitted]]  # each sample with its number in its shard


def emitted(place: Place) -> Found:
    """Yield every sample that the join emitted: those that went on, then those that are still in the stream.

    Raises:
        ConfigError: a reader of the stream has taken samples, and they are nowhere to be found.
        HistoryChanged: the store does not hold the position at which the others end.
    """
    at = dict.fromkeys(range(place.shards), NOTHING)
    if place.registry:
        yield from _learned(place.registry, at)
    else:
        yield from WRITTEN[place.settings.output.to](place, at)
    for shard, position in at.items():
        while page := place.store.read(place.feed.name, shard, position, PAGE):
            yield from ((number(one.position), _emitted(one.sample)) for one in page)
            position = page[-1].position


def _learned(registry: Registry, at: dict[int, str]) -> Found:
    newest = next(backwards(registry))
    at.update((int(shard), position) for shard, position in newest.positions.items())
    for commit in backwards(registry):
        for slot, sample in zip(slots(commit), commit.samples, strict=True):
            yield slot.number, _emitted(sample)
        for one in commit.quarantined:
            yield number(one.position), _emitted(one.sample)


def _left(place: Place, at: dict[int, str]) -> Found:
    for shard in at:
        try:
            place.store.read(place.feed.name, shard, NOTHING, 1)
        except HistoryChanged:
            raise ConfigError(
                f"a reader took samples from the stream of shard {shard}, and only it knows them: output.to must be "
                "'topic' or 'parquet' for them to be compared"
            ) from None
    yield from ()


def _topic(place: Place, at: dict[int, str]) -> Found:
    """Read the topic; a record of kind void takes back what is after its position."""
    found: dict[int, list[tuple[str, bytes]]] = {shard: [] for shard in at}
    for shard in at:
        with place.source([place.samples(shard)]) as source:
            for record in records(source):
                position, shown = position_of(record), found[shard]
                if dict(record.headers).get("kind") == VOID.encode():
                    shown[:] = [one for one in shown if number(one[0]) <= number(position)]
                else:
                    shown.append((position, record.value or b""))
    yield from _those(found, at)


def _parquet(place: Place, at: dict[int, str]) -> Found:
    table: Callable[..., Any] = import_module("pyarrow.parquet").read_table
    names = ["id", "revision", "kind", "label", "position"]
    for shard in at:
        for path in sorted((Path(place.settings.output.path) / f"shard={shard}").glob("*.parquet")):
            for row in table(path, columns=names, partitioning=None).to_pylist():
                label = msgspec.json.decode(row["label"]) if isinstance(row["label"], str) else row["label"]
                at[shard] = row["position"]
                yield number(at[shard]), Emitted(row["id"], row["revision"], row["kind"], label)


def _those(found: dict[int, list[tuple[str, bytes]]], at: dict[int, str]) -> Found:
    for shard, samples in found.items():
        for position, sample in samples:
            at[shard] = position
            yield number(position), _emitted(sample)


def _emitted(sample: bytes | str) -> Emitted:
    one = read_sample(sample)
    return Emitted(one.id, one.revision, one.kind, one.label)


WRITTEN: dict[str, Callable[[Place, dict[int, str]], Found]] = {"stream": _left, "topic": _topic, "parquet": _parquet}
