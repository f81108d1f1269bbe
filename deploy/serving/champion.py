"""The champion that serves: the registry's newest version that is loaded.

Owns loading a version and swapping to it between two micro-batches. Does not know requests, or what an engine is.
"""

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import torch
from torch import Tensor, nn

from compressors.answers import answers
from compressors.rows import Rows
from deploy.engine import Running, load
from deploy.registry.kinds import CHAMPIONS
from deploy.registry.records import Champion
from deploy.registry.registry import Registry
from streams.errors import RegistryError

AT_ONCE_BYTES = 1_000_000  # loaded within 10 ms; a larger artifact in a thread, while the version before serves


class Version(NamedTuple):
    """A loaded champion: its record, what runs it, and its offset (K,), which is added to the raw output."""

    record: Champion
    running: Running
    offset: Tensor


class Served:
    """Answers with the newest champion that is loaded; with `engines`, by the engine for which it was proven.

    Raises:
        RegistryError: there is no champion.
    """

    def __init__(self, registry: Registry, factory: Callable[[], nn.Module], *, engines: bool = True) -> None:
        self._registry, self._factory, self._engines = registry, factory, engines
        self._thread = ThreadPoolExecutor(1)
        self._coming: Future[Version] | None = None
        self._said: set[str] = set()
        self._take(self._load(registry.last(CHAMPIONS)))

    def refresh(self) -> bool:
        """Swap to a newer champion if one is loaded, and return whether it is; to be called between two batches."""
        if self._coming is not None:
            if not self._coming.done():
                return False
            version, self._coming = self._coming.result(), None
            self._take(version)
            return True
        newest = self._registry.last(CHAMPIONS, self.record.number)
        if newest == self.record.number:
            return False
        if self._bytes(newest) > AT_ONCE_BYTES:
            self._coming = self._thread.submit(self._load, newest)
            return False
        self._take(self._load(newest))
        return True

    def answer(self, rows: Rows | Sequence[Tensor]) -> Tensor:
        """Return the raw outputs plus the version's offset, shape (N, K); the live intercept is not in it."""
        output = answers(self._running, rows)
        return output + self._offset.to(output)

    @property
    def record(self) -> Champion:
        """The champion that answers."""
        return self._record

    @property
    def engines(self) -> tuple[str, ...]:
        """A line that says what runs this version; empty where engines are off."""
        return (f"v{self._record.number}, {self._running.line}",) if self._engines else ()

    def _take(self, version: Version) -> None:
        self._record, self._running, self._offset = version
        if self._engines and self._running.by.startswith("torch") and self._running.by not in self._said:
            self._said.add(self._running.by)
            logging.getLogger("shadowstream").warning("server: v%d is run by %s", self.record.number, self._running.by)

    def _bytes(self, number: int) -> int:
        return len(self._registry.get(self._champion(number).artifact))

    def _champion(self, number: int) -> Champion:
        record = self._registry.record(CHAMPIONS, number)
        if record is None:
            raise RegistryError(f"{self._registry.folder} holds no champion: the feed was not created")
        return record

    def _load(self, number: int) -> Version:
        record = self._champion(number)
        running = load(self._registry, record.artifact, record.engine, self._factory, engines=self._engines)
        return Version(record, running, torch.tensor(record.offset, dtype=torch.float64))
