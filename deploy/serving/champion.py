"""The champion that serves: the registry's newest version that can be loaded and that a trusted key has signed.

Owns loading a version beside serving, in a thread, and swapping to it between two micro-batches. Does not know
requests, or what an engine is.
"""

import logging
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import torch
from torch import Tensor, nn

from compressors.answers import answers
from compressors.errors import ArtifactError
from compressors.rows import Rows
from deploy.engine import Running, load, mismatch
from deploy.lineages import Lineages
from deploy.registry.kinds import ALARMS, CANDIDATES, CHAMPIONS
from deploy.registry.records import Champion
from deploy.registry.registry import Registry
from learners.online.batches import Encoder
from streams.errors import ConfigError, RegistryError

AGAIN_S = 5.0  # between two tries of a version that cannot be served
TURNS_S = 0.0005  # between threads: a thread that loads may keep the interpreter from the one that serves for so long
REFUSED = (RegistryError, ArtifactError, ConfigError, OSError)


class Version(NamedTuple):
    """A loaded champion: its record, what runs it, and its offset (K,), which is added to the raw output.

    It was made of the learner's state of `commit`; 0: of history.
    """

    record: Champion
    running: Running
    offset: Tensor
    commit: int

    def answer(self, rows: Rows | Sequence[Tensor]) -> Tensor:
        """Return the raw outputs plus the offset, shape (N, K)."""
        output = answers(self.running, rows)
        return output + self.offset.to(output)


class Served:
    """Answers with the newest champion that can be served; with `engines`, by the engine for which it was proven.

    Raises:
        RegistryError: there is no champion, or none that can be served; says why of the newest.
    """

    def __init__(
        self,
        registry: Registry,
        factory: Callable[[], nn.Module],
        *,
        engines: bool = True,
        lineages: Lineages | None = None,
    ) -> None:
        """`factory` makes the model of every version, unless `lineages` knows of others."""
        sys.setswitchinterval(TURNS_S)
        self._registry, self._factory, self._engines, self._lineages = registry, factory, engines, lineages
        self._thread = ThreadPoolExecutor(1)
        self._coming: Future[Version] | None = None
        self._refused, self._why, self._again_s = -1, "", 0.0
        self._said: set[str] = set()
        self._alarm = registry.last(ALARMS)
        self._take(self._first())

    def refresh(self) -> bool:
        """Swap to a newer champion if one is loaded, and return whether it is; to be called between two batches."""
        if self._coming is not None:
            return self._coming.done() and self._swap(self._coming)
        newest = self._registry.last(CHAMPIONS, self.record.number)
        if newest != self.record.number and not (newest == self._refused and time.monotonic() < self._again_s):
            self._coming = self._thread.submit(self._load, newest)
        elif self._alarmed():
            self._coming = self._thread.submit(self._load, self.record.number)
        return False

    def _alarmed(self) -> bool:
        """Return whether an alarm has come by which torch serves this version from now on."""
        newest = self._registry.last(ALARMS, self._alarm)
        if newest == self._alarm:
            return False
        self._alarm = newest
        return self._engines and bool(mismatch(self._registry, self.record.artifact))

    def answer(self, rows: Rows | Sequence[Tensor]) -> Tensor:
        """Return the raw outputs plus the version's offset, shape (N, K); the live intercept is not in it."""
        return self._version.answer(rows)

    @property
    def encoder(self) -> Encoder | None:
        """What reads requests for a version of an earlier pipeline; None for today's."""
        return self._version.running.encoder

    @property
    def record(self) -> Champion:
        """The champion that answers."""
        return self._version.record

    @property
    def commit(self) -> int:
        """The commit of whose state the version was made; 0: of history."""
        return self._version.commit

    @property
    def engines(self) -> tuple[str, ...]:
        """Lines that say what runs this version, empty where engines are off, and why a newer one does not serve."""
        by = (f"v{self.record.number}, {self._version.running.line}",) if self._engines else ()
        return (*by, self._why) if self._why else by

    def _first(self) -> Version:
        """Return the newest version that can be served."""
        newest = self._registry.last(CHAMPIONS)
        for number in range(newest, 0, -1):
            try:
                return self._load(number)
            except REFUSED as wrong:
                if not self._why:
                    self._refuse(newest, wrong)
        return self._load(0)

    def _swap(self, coming: Future[Version]) -> bool:
        """Take a version that was loaded, or say why it does not serve."""
        self._coming = None
        newest = self._registry.last(CHAMPIONS, self.record.number)
        try:
            self._take(coming.result())
        except REFUSED as wrong:
            self._refuse(newest, wrong)
            return False
        self._why = ""
        return True

    def _refuse(self, number: int, wrong: BaseException) -> None:
        self._refused, self._again_s = number, time.monotonic() + AGAIN_S
        why = f"v{number} does not serve: {wrong}"
        if why != self._why:
            logging.getLogger("shadowstream").warning("server: %s; the version before it serves on", why)
        self._why = why

    def _take(self, version: Version) -> None:
        self._version, running = version, version.running
        if self._engines and running.by.startswith("torch") and running.by not in self._said:
            self._said.add(running.by)
            logging.getLogger("shadowstream").warning("server: v%d is run by %s", self.record.number, running.by)

    def _load(self, number: int) -> Version:
        record = self._registry.record(CHAMPIONS, number)
        if record is None:
            raise RegistryError(f"{self._registry.folder} holds no champion: the feed was not created")
        if self._lineages:
            running = self._lineages.load(record)
        else:
            running = load(self._registry, record.artifact, record.engine, self._factory, engines=self._engines)
        made_of = None if record.candidate is None else self._registry.record(CANDIDATES, record.candidate)
        offset = torch.tensor(record.offset, dtype=torch.float64)
        return Version(record, running, offset, made_of.commit if made_of else 0)
