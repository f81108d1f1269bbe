"""The registry: a folder of things that are created once and never changed.

    commits/n, candidates/n, verdicts/n, champion/n     numbered records, created only if absent
    blobs/<sha256>                                      artifacts and states, by their digest

Owns files, digests and durability (write, fsync, link, fsync of the folder). Does not know what the records mean.
"""

import hashlib
import os
import uuid
from pathlib import Path
from typing import TypeVar

import msgspec
from msgspec import Struct

from streams.errors import ShadowstreamError

T = TypeVar("T", bound=Struct)


class RegistryError(ShadowstreamError):
    """A record or blob is missing or damaged; the text names the file."""


class Registry:
    """One feed's registry on a disk."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        for kind in ("commits", "candidates", "verdicts", "champion", "blobs"):
            (folder / kind).mkdir(parents=True, exist_ok=True)

    def create(self, kind: str, number: int, data: bytes) -> bool:
        """Create `kind/number` durably, or return False because it is there already."""
        return self._link(self._path(kind, number), data)

    def read(self, kind: str, number: int) -> bytes | None:
        """Give the bytes of `kind/number`, or None if there is none."""
        try:
            return self._path(kind, number).read_bytes()
        except FileNotFoundError:
            return None

    def record(self, kind: str, number: int, of: type[T]) -> T | None:
        """Give `kind/number`, decoded, or None if there is none.

        Raises:
            RegistryError: the file is not such a record.
        """
        data = self.read(kind, number)
        try:
            return None if data is None else msgspec.json.decode(data, type=of)
        except msgspec.DecodeError as wrong:
            raise RegistryError(f"{self._path(kind, number)}: {wrong}") from None

    def last(self, kind: str, start: int = -1) -> int:
        """Give the highest number of `kind`, looking upwards from `start`; -1 if there is none. There are no holes."""
        while self._path(kind, start + 1).exists():
            start += 1
        return start

    def put(self, data: bytes) -> str:
        """Keep a blob; returns its digest."""
        digest = hashlib.sha256(data).hexdigest()
        self._link(self.folder / "blobs" / digest, data)
        return digest

    def get(self, digest: str) -> bytes:
        """Give a blob.

        Raises:
            RegistryError: it is missing, or its bytes are not those of the digest.
        """
        path = self.folder / "blobs" / digest
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            raise RegistryError(f"{path} is missing") from None
        if hashlib.sha256(data).hexdigest() != digest:
            raise RegistryError(f"{path} is damaged: its bytes do not match its name")
        return data

    def _path(self, kind: str, number: int) -> Path:
        return self.folder / kind / f"{number:08}.json"

    def _link(self, path: Path, data: bytes) -> bool:
        if path.exists():
            return False
        draft = path.with_name(f".{uuid.uuid4().hex}")
        with draft.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        try:
            os.link(draft, path)
        except FileExistsError:
            return False
        finally:
            draft.unlink()
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
        return True
