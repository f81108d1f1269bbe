"""Which segments may hold a sample of an id: a small object beside each, so that one is found among millions.

It is a Bloom filter (Bloom 1970), its bits those of two halves of a digest (Kirsch & Mitzenmacher 2006): 1.25 bytes
a sample, and one segment of 120 is read in vain. A segment without one is read. Owns the filter and where to look. Does
not know what is done with a commit.
"""

import hashlib
from collections.abc import Iterable, Iterator

import msgspec
import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from deploy.registry.log import frames
from deploy.registry.log.log import Log
from deploy.registry.log.segments import INDEX, LOG, Span, span_of, within
from deploy.registry.storage import Objects

BITS, PROBES = 10, 7  # a sample


class _Sample(Struct):
    id: str


class _Samples(Struct):
    samples: list[_Sample] = []


def name_of(span: Span) -> str:
    """Return the name of a segment's index.

    >>> name_of(Span(0, 63))
    'index/000000000063-000000000000'
    """
    return INDEX + span.name.removeprefix(LOG)


def pack(lines: Iterable[bytes]) -> bytes:
    """Return the index of commits."""
    ids = {sample.id for line in lines for sample in _read(line).samples}
    bits = np.zeros(max(8, BITS * len(ids) // 8 * 8), bool)
    bits[_probes(ids, len(bits))] = True
    return frames.pack(np.packbits(bits).tobytes(), frames.FAST)


def may_hold(name: str, data: bytes, key: str) -> bool:
    """Return whether a segment whose index this is may hold a sample of an id; if not, it holds none.

    Raises:
        RegistryError: the index is damaged.
    """
    octets = np.frombuffer(frames.unpack(name, data), np.uint8)
    probes = _probes({key}, 8 * len(octets))
    return bool((octets[probes >> 3] & (128 >> (probes & 7))).all())


def numbers(objects: Objects, key: str) -> Iterator[int]:
    """Yield the numbers of commits that may hold a sample of an id, newest first, down to where the log begins.

    Raises:
        RegistryError: an index is damaged.
    """
    spans = [*map(span_of, objects.list(LOG))]
    sealed, log = spans[-1].last if spans else -1, Log(objects)
    begins = log.begins()
    yield from range(log.newest(), max(sealed, begins - 1), -1)
    for span in sorted({*spans} - {*within(spans)}, reverse=True):
        name, last = name_of(span), min(span.last, sealed)
        data = objects.get(name)
        if data is None or may_hold(name, data, key):
            yield from range(last, max(span.first, begins) - 1, -1)
        sealed = span.first - 1


def _probes(ids: set[str], bits: int) -> NDArray[np.int64]:
    """Return which bits ids set."""
    digests = b"".join(hashlib.blake2b(one.encode(), digest_size=16).digest() for one in ids)
    halves = np.frombuffer(digests, "<u8").reshape(-1, 2)
    probes = (halves[:, :1] + np.arange(PROBES, dtype=np.uint64) * halves[:, 1:]) % np.uint64(bits)
    return np.asarray(probes.ravel(), np.int64)


_read = msgspec.json.Decoder(_Samples).decode
