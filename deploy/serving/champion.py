"""The champion that serves: the registry's newest version that can be loaded and that a trusted key has signed; where
that is a canary, it answers its share of the requests, and the version before it the rest.

Owns loading versions beside serving, in a thread, and swapping to them between two micro-batches. Does not know what is
asked, or what an engine is.
"""

import logging
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from typing import NamedTuple, TypeVar

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
from deploy.registry.reigns import before, versions
from learners.evaluation.canary import ALL, chosen
from learners.online.batches import Encoder
from streams.errors import ConfigError, RegistryError, RegistryUnwritable

T = TypeVar("T")
AGAIN_S = 5.0  # between two tries of a version that cannot be served
TURNS_S = 0.0005  # between threads: a thread that loads may keep the interpreter from the one that serves for so long
FAR_S = 0.2  # between two looks into a bucket, beside serving: an answer takes milliseconds, or never comes
REFUSED = (RegistryError, RegistryUnwritable, ArtifactError, ConfigError, OSError)


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

    @property
    def encoder(self) -> Encoder | None:
        """What reads requests for a version of an earlier pipeline; None for today's."""
        return self.running.encoder

    @property
    def line(self) -> str:
        """A line that says what runs it."""
        share = "" if self.record.share == ALL else f" ({100 * self.record.share:g} % of requests)"
        return f"v{self.record.number}{share}, {self.running.line}"


class Serving(NamedTuple):
    """What answers: the `champion`, and a `canary` while there is one."""

    champion: Version
    canary: Version | None = None

    @property
    def both(self) -> list[Version]:
        """All versions that answer, the newest first."""
        return [one for one in (self.canary, self.champion) if one]


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
        self._coming: Future[Serving] | None = None
        self._refused, self._wanted, self._why, self._again_s = -1, -1, "", 0.0
        self._said: set[str] = set()
        self._looking: Future[tuple[int, int]] | None = None
        self._look_s = 0.0
        self._alarm = registry.last(ALARMS)
        self._left: list[Version] = []  # what the newest swap has left, which is likely to come back
        self._serving = self._first()
        self._known = self.newest, self._alarm
        self._tell()

    def refresh(self) -> bool:
        """Swap to a newer champion if one is loaded, and return whether it is; to be called between two batches."""
        if self._coming is not None:
            return self._coming.done() and self._swap(self._coming)
        newest, alarm = self._look() if self._registry.home.local else self._known_now()
        if newest != self.newest and not (newest == self._refused and time.monotonic() < self._again_s):
            self._wanted = newest
            self._coming = self._thread.submit(self._load, newest, self._serving.both)
        elif self._alarmed(alarm):
            self._wanted = self.newest
            self._coming = self._thread.submit(self._load, self.newest)
        return False

    def _look(self) -> tuple[int, int]:
        """Return the numbers of the newest version and alarm."""
        return self._registry.last(CHAMPIONS, self.newest), self._registry.last(ALARMS, self._alarm)

    def _known_now(self) -> tuple[int, int]:
        """Return the same as a thread has last seen it; serving does not wait for a bucket."""
        if self._looking is not None and self._looking.done():
            with suppress(RegistryUnwritable):  # the others wait for it, and say so
                self._known = self._looking.result()
            self._looking, self._look_s = None, time.monotonic() + FAR_S
        if self._looking is None and time.monotonic() >= self._look_s:
            self._looking = self._thread.submit(self._look)
        return max(self._known[0], self.newest), max(self._known[1], self._alarm)

    def _alarmed(self, newest: int) -> bool:
        """Return whether an alarm has come by which torch runs what serves from now on."""
        if newest == self._alarm:
            return False
        self._alarm = newest
        return self._engines and any(mismatch(self._registry, one.record.artifact) for one in self._serving.both)

    def of(self, key: str) -> Version:
        """Return the version that answers the request with this id."""
        canary = self.canary
        mine = canary is not None and chosen(key, canary.record.artifact, canary.record.share)
        return canary if canary and mine else self.champion

    @property
    def canary(self) -> Version | None:
        """The version that answers a share of the requests, if there is one."""
        return self._serving.canary

    @property
    def champion(self) -> Version:
        """The version that answers all requests, or those that a canary leaves."""
        return self._serving.champion

    def beside(self, do: Callable[[], T]) -> Future[T]:
        """Have something done in the thread that loads versions."""
        return self._thread.submit(do)

    def load_before(self) -> Version | None:
        """Load the version that would come back, if there is one; to be called `beside` serving.

        Raises:
            RegistryError, ArtifactError, ConfigError: as `Lineages.load`.
        """
        number = before(versions(self._registry, self.newest))
        there = [*self._serving.both, *self._left]
        return None if number is None else self._version(self._record(number), there)

    def answer(self, rows: Rows | Sequence[Tensor]) -> Tensor:
        """Return the champion's raw outputs plus its offset, shape (N, K); the live intercept is not in it."""
        return self.champion.answer(rows)

    @property
    def encoder(self) -> Encoder | None:
        """What reads requests for a champion of an earlier pipeline; None for today's."""
        return self.champion.encoder

    @property
    def record(self) -> Champion:
        """The champion's record."""
        return self.champion.record

    @property
    def commit(self) -> int:
        """The commit of whose state the champion was made; 0: of history."""
        return self.champion.commit

    @property
    def newest(self) -> int:
        """The number of the newest version that answers."""
        return self._serving.both[0].record.number

    @property
    def engines(self) -> tuple[str, ...]:
        """Lines that say what runs what serves, empty where engines are off, and why a newer one does not serve."""
        by = tuple(one.line for one in self._serving.both[::-1]) if self._engines else ()
        return (*by, self._why) if self._why else by

    def _first(self) -> Serving:
        """Return the newest version that can be served."""
        newest = self._registry.last(CHAMPIONS)
        number = newest
        while number > 0:
            try:
                return self._load(number)
            except REFUSED as wrong:
                if not self._why:
                    self._refuse(newest, wrong)
            number = self._earlier(number)
        return self._load(0)

    def _earlier(self, number: int) -> int:
        """Return the version that serves where one cannot: the one before, of a sync the one that was tested."""
        with suppress(*REFUSED):
            if (of := self._record(number).sync_of) is not None:
                return of
        return number - 1

    def _swap(self, coming: Future[Serving]) -> bool:
        """Take what was loaded, or say why it does not serve."""
        self._coming = None
        try:
            self._left, self._serving = self._serving.both, coming.result()
        except REFUSED as wrong:
            self._refuse(self._wanted, wrong)
            return False
        self._why = ""
        self._tell()
        return True

    def _refuse(self, number: int, wrong: BaseException) -> None:
        self._refused, self._again_s = number, time.monotonic() + AGAIN_S
        why = f"v{number} does not serve: {wrong}"
        if why != self._why:
            logging.getLogger("shadowstream").warning("server: %s; the version before it serves on", why)
        self._why = why

    def _tell(self) -> None:
        """Say which versions torch runs, once for each reason, and once for all syncs of a version."""
        for record, running, *_ in self._serving.both if self._engines else ():
            why = running.by if record.sync_of is None else record.reign
            if running.by.startswith("torch") and not {running.by, why} & self._said:
                self._said |= {running.by, why}
                logging.getLogger("shadowstream").warning("server: v%d is run by %s", record.number, running.by)

    def _load(self, number: int, there: Sequence[Version] = ()) -> Serving:
        """Load a version, and where it is a canary its base, too; what is `there` is not loaded again."""
        record = self._record(number)
        if record.share == ALL:
            return Serving(self._version(record, there))
        base = next(one for n in range(number - 1, -1, -1) if (one := self._record(n)).share == ALL)
        return Serving(self._version(base, there), self._version(record, there))

    def _record(self, number: int) -> Champion:
        record = self._registry.record(CHAMPIONS, number)
        if record is None:
            raise RegistryError(f"{self._registry.home} holds no champion: the feed was not created")
        return record

    def _version(self, record: Champion, there: Sequence[Version]) -> Version:
        if same := next((one for one in there if one.record.artifact == record.artifact), None):
            offset = torch.tensor(record.offset, dtype=torch.float64)
            return Version(record, same.running, offset, same.commit)
        if self._lineages:
            running = self._lineages.load(record)
        else:
            running = load(self._registry, record.artifact, record.engine, self._factory, engines=self._engines)
        return Version(record, running, torch.tensor(record.offset, dtype=torch.float64), self._made_of(record))

    def _made_of(self, record: Champion) -> int:
        """Return the commit of whose state a version was made; 0: of history."""
        if record.sync_of is not None:
            return record.commit or 0
        made = None if record.candidate is None else self._registry.record(CANDIDATES, record.candidate)
        return made.commit if made else 0
