"""Bytes that are created once and, but for new signatures, never changed, in a folder on a disk.

Owns durability: write, fsync, link, fsync of the folder. Does not know what the bytes mean.
"""

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from streams.errors import RegistryUnwritable


def create(path: Path, data: bytes, mode: int = 0o666) -> bool:
    """Create a file durably and whole, or return False because it is there already.

    `mode` is what the umask leaves it, as in `os.open`.

    The link is what decides between rivals: it succeeds once, and whoever sees the file sees all of it.

    Raises:
        RegistryUnwritable: the disk is full, or nothing may be written there.
    """
    if path.exists():
        return False
    with _drafted(path, data, mode) as draft:
        try:
            os.link(draft, path)
        except FileExistsError:
            return False
    return True


def replace(path: Path, data: bytes) -> None:
    """Put a file in the place of one, durably: after a crash there is the one or the other, whole.

    Raises:
        RegistryUnwritable: as `create`.
    """
    with _drafted(path, data, path.stat().st_mode) as draft:
        draft.replace(path)


@contextmanager
def _drafted(path: Path, data: bytes, mode: int) -> Iterator[Path]:
    """Write a draft beside a file for the `with`, in which it gets its name; then that is made to last."""
    draft = path.with_name(f".{uuid.uuid4().hex}")
    try:
        draft.touch(mode)
        with draft.open("wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        yield draft
        _sync(path.parent)
    except OSError as wrong:
        raise RegistryUnwritable(f"{path} cannot be written: {wrong.strerror}") from wrong
    finally:
        draft.unlink(missing_ok=True)


def read(path: Path) -> bytes | None:
    """Return a file's bytes, or None if there is no such file."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
