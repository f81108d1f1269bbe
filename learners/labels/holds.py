"""Entries of the log that are held, by index. Imports no torch: commands of a feed read commits, too."""

from collections.abc import Sequence
from typing import Literal, TypeVar

from msgspec import Struct

T = TypeVar("T")
Said = Literal["release", "drop"]
FOR_EVER_MS = 1 << 62


class Hold(Struct, frozen=True, array_like=True):
    """That the entry at index `at` was held, by which source, and why, in words."""

    at: int
    source: str
    why: str

    def moved(self, by: int) -> "Hold":
        """Return the same of an index that is so much larger."""
        return Hold(self.at + by, self.source, self.why)


def left(entries: Sequence[T], held: Sequence[Hold]) -> list[T]:
    """Return the entries that are not held."""
    indices = {hold.at for hold in held}
    return [one for at, one in enumerate(entries) if at not in indices]
