"""A set of offsets of one partition, small in memory and as text, whether they are many in a row or few far apart.

Owns the set's form. Does not know what the offsets stand for.
"""

import zlib
from base64 import b64decode, b64encode
from collections.abc import Iterator
from typing import Self

BITS = 4_096  # of a block
BYTES = BITS // 8
NUMBER_BYTES = 8


class Offsets:
    """A set of offsets, in blocks of bits.

    >>> some = Offsets.of((3, 7), (9_000, 9_001))
    >>> len(some), some.first, some.last, 6 in some, 7 in some
    (5, 3, 9000, True, False)
    >>> list(Offsets.unpack(some.pack()) - Offsets.of((4, 6)))
    [3, 6, 9000]
    """

    def __init__(self) -> None:
        self._blocks: dict[int, int] = {}

    @classmethod
    def of(cls, *ranges: tuple[int, int]) -> Self:
        """Return the offsets of ranges, each from its first to before its second."""
        made = cls()
        for start, end in ranges:
            made.add(start, end)
        return made

    def add(self, start: int, end: int) -> None:
        """Add the offsets from `start` to before `end`."""
        while start < end:
            block, first = divmod(start, BITS)
            length = min(end - start, BITS - first)
            self._blocks[block] = self._blocks.get(block, 0) | ((1 << length) - 1) << first
            start += length

    @property
    def first(self) -> int:
        """The least offset; there must be one."""
        block = min(self._blocks)
        bits = self._blocks[block]
        return block * BITS + (bits & -bits).bit_length() - 1

    @property
    def last(self) -> int:
        """The greatest offset; there must be one."""
        block = max(self._blocks)
        return block * BITS + self._blocks[block].bit_length() - 1

    def halves(self) -> tuple[Self, Self]:
        """Return two sets that together have these offsets; there must be two."""
        middle, bit = divmod((self.first + self.last) // 2 + 1, BITS)
        lower = {n: bits for n, bits in self._blocks.items() if n < middle}
        lower[middle] = self._blocks.get(middle, 0) & ((1 << bit) - 1)
        made = self._made(lower)
        return made, self - made

    def pack(self) -> str:
        """Return the set as text: about a bit for each offset from first to last at most, fewer where it is dense."""
        blocks = sorted(self._blocks.items())
        raw = b"".join(n.to_bytes(NUMBER_BYTES, "big") + bits.to_bytes(BYTES, "little") for n, bits in blocks)
        return b64encode(zlib.compress(raw, 1)).decode()

    @classmethod
    def unpack(cls, text: str | bytes) -> Self:
        """Return the set of a text that `pack` returned."""
        raw, made = zlib.decompress(b64decode(text)), cls()
        for at in range(0, len(raw), NUMBER_BYTES + BYTES):
            number, bits = raw[at : at + NUMBER_BYTES], raw[at + NUMBER_BYTES : at + NUMBER_BYTES + BYTES]
            made._blocks[int.from_bytes(number, "big")] = int.from_bytes(bits, "little")
        return made

    def __contains__(self, offset: int) -> bool:
        block, bit = divmod(offset, BITS)
        return bool(self._blocks.get(block, 0) >> bit & 1)

    def __len__(self) -> int:
        return sum(bits.bit_count() for bits in self._blocks.values())

    def __iter__(self) -> Iterator[int]:
        for block, bits in sorted(self._blocks.items()):
            while bits:
                yield block * BITS + (bits & -bits).bit_length() - 1
                bits &= bits - 1

    def __or__(self, other: "Offsets") -> Self:
        both = self._blocks.keys() | other._blocks.keys()
        return self._made({n: self._blocks.get(n, 0) | other._blocks.get(n, 0) for n in both})

    def __and__(self, other: "Offsets") -> Self:
        return self._made({n: bits & other._blocks.get(n, 0) for n, bits in self._blocks.items()})

    def __sub__(self, other: "Offsets") -> Self:
        return self._made({n: bits & ~other._blocks.get(n, 0) for n, bits in self._blocks.items()})

    def _made(self, blocks: dict[int, int]) -> Self:
        made = type(self)()
        made._blocks = {n: bits for n, bits in blocks.items() if bits}
        return made
