"""Objects that are files below a folder of this machine.

Owns durability: write, fsync, link, fsync of the folder. Does not know what the bytes mean.
"""

import os
import re
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from streams.errors import RegistryUnwritable

OURS_ALONE = 0o600
DRAFT = re.compile(r"\.[0-9a-f]{32}")
OLD_S = 3_600.0  # a draft is a file in a moment: one so old is nobody's


class Disk:
    """Objects that are files below a folder, which appears with the first of them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def create(self, name: str, data: bytes, *, private: bool = False) -> bool:
        """Create a file, as `create`; one that is there already is made to last as well.

        Raises:
            RegistryUnwritable: the disk is full, or nothing may be written there.
        """
        path = self._folder / name
        if not path.parent.is_dir():
            _make(path.parent)
        if create(path, data, OURS_ALONE if private else 0o666):
            return True
        with _said(path):
            _sync(path.parent)
        return False

    def get(self, name: str) -> bytes | None:
        """Return a file's bytes, None if there is none."""
        return read(self._folder / name)

    def list(self, folder: str, after: str = "") -> list[str]:
        """Return the names in a folder that come after a name, in their order."""
        least = after.removeprefix(f"{folder}/")
        return [f"{folder}/{name}" for name in names(self._folder / folder) if name > least]

    def delete(self, name: str) -> None:
        """Delete a file. After a crash it may be there again."""
        path = self._folder / name
        with _said(path):
            path.unlink(missing_ok=True)

    def replace(self, name: str, data: bytes) -> None:
        """Put a file in the place of one, as `replace`."""
        replace(self._folder / name, data)

    def move(self, name: str, to: str) -> None:
        """Rename a file, which may be gone already."""
        path = self._folder / name
        with _said(path), suppress(FileNotFoundError):
            path.replace(self._folder / to)

    def sizes(self) -> dict[str, int]:
        """Return the bytes of every file, by name, without drafts."""
        found = {}
        for folder, _, files in os.walk(self._folder):
            below = Path(folder).relative_to(self._folder)
            for file in files:
                with suppress(FileNotFoundError):  # another sweep, or the sealer, has just moved it
                    if not DRAFT.fullmatch(file):
                        found[(below / file).as_posix()] = (Path(folder) / file).stat().st_size
        return dict(sorted(found.items()))


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
    with _said(path):
        try:
            draft.touch(mode)
            with draft.open("wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            yield draft
            _sync(path.parent)
        finally:
            draft.unlink(missing_ok=True)


def read(path: Path) -> bytes | None:
    """Return a file's bytes, or None if there is no such file."""
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None


def names(folder: Path) -> list[str]:
    """Return the names in a folder in text order, without drafts; none where there is no folder."""
    try:
        found = os.listdir(folder)  # noqa: PTH208 an iterator of paths takes many times as long
    except FileNotFoundError:
        return []
    return sorted(name for name in found if not name.startswith("."))


def tidy(folder: Path) -> None:
    """Delete drafts of processes that were killed while they wrote one."""
    for path in folder.rglob(".*"):
        with suppress(OSError):
            if DRAFT.fullmatch(path.name) and path.stat().st_mtime < time.time() - OLD_S:
                path.unlink()


def _make(folder: Path) -> None:
    with _said(folder):
        folder.mkdir(parents=True, exist_ok=True)
        _sync(folder.parent)


@contextmanager
def _said(path: Path) -> Iterator[None]:
    """Have an error say what cannot be written, and why."""
    try:
        yield
    except OSError as wrong:
        raise RegistryUnwritable(f"{path} cannot be written: {wrong.strerror}") from wrong


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
