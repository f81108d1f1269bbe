"""Reads a log from one offset to another, and no further.

Owns the bounds. Does not know what the records are for.
"""

import time
from collections.abc import Iterator, Mapping

from streams.errors import BrokerUnreachable
from streams.events import Record
from streams.kafka import Polled, Rejected, Source, Tp

POLL_MS = 200
POLL_RECORDS = 2_000
ANSWER_S = 20.0


def scan(source: Source, ranges: Mapping[Tp, tuple[int, int]]) -> Iterator[Polled]:
    """Read each partition's range, from its first offset to before its second; the partitions take turns.

    Raises:
        BrokerUnreachable: no record came for a while, before all were read.
    """
    source.pause([tp for tp in source.tps if tp not in ranges])
    for tp, (start, _) in ranges.items():
        source.seek(tp, start)
    heard = time.monotonic()
    while open_ := {tp for tp, (_, end) in ranges.items() if source.position(tp) < end}:
        source.pause(set(ranges) - open_)
        polled = source.poll(POLL_MS, POLL_RECORDS)
        if polled:
            heard = time.monotonic()
        elif time.monotonic() - heard > ANSWER_S:
            left = ", ".join(f"{tp.topic}/{tp.partition} from {source.position(tp)}" for tp in sorted(open_))
            raise BrokerUnreachable(f"nothing came in {ANSWER_S:.0f} s, still to be read: {left}")
        yield from (_bounded(part, ranges[part.tp][1]) for part in polled if part.tp in open_)
    source.resume(source.tps)


def records(source: Source) -> Iterator[Record]:
    """Read all records that are in the source's partitions now."""
    starts, ends = source.starts(), source.ends()
    for part in scan(source, {tp: (starts[tp], ends[tp]) for tp in source.tps}):
        yield from part.records


def _bounded(part: Polled, end: int) -> Polled:
    if part.end <= end:
        return part
    kept = [record for record in part.records if record.offset < end]
    rejected = [Rejected(one.start, min(one.end, end), one.reason) for one in part.rejected if one.start < end]
    return Polled(part.tp, part.start, end, kept, rejected)
