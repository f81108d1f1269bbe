"""What a registry is kept in: objects by name, each created once.

Owns the calls that a feed is kept with, whether on a disk, in memory or in a bucket. Does not know what the bytes mean.
"""

from typing import Protocol


class Objects(Protocol):
    """Objects by name, `FOLDER/NAME`, each created once and never changed. Text order is their order.

    The record rests on these four calls. Each raises RegistryUnwritable where nothing answers, or can be written, now.
    """

    def create(self, name: str, data: bytes) -> bool:
        """Create an object durably and whole, or return False because it is there, or may be: read it back."""

    def get(self, name: str) -> bytes | None:
        """Return an object, None if there is none."""

    def list(self, folder: str, after: str = "") -> list[str]:
        """Return the names in a folder that come after a name, in their order, without those that begin with a dot."""

    def delete(self, name: str) -> None:
        """Delete an object; it may be gone already."""


class Place(Objects, Protocol):
    """Where all of a registry is kept: with the calls of a person's word, of sweeps, and of what is private."""

    def create(self, name: str, data: bytes, *, private: bool = False) -> bool:
        """Create an object durably and whole, or return False because it is there, or may be: read it back.

        A `private` file is its owner's alone. In a bucket, who may read the bucket may read all of it.
        """

    def replace(self, name: str, data: bytes) -> None:
        """Put bytes in the place of an object: a reader sees the one or the other, whole. For new signatures alone."""

    def move(self, name: str, to: str) -> None:
        """Give an object another name, where nothing or the same is; it may be gone already."""

    def sizes(self) -> dict[str, int]:
        """Return the bytes of every object, by name."""
