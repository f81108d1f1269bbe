"""One run of a feed at a time: who has it, and how the next one takes it.

Owns the records `runs/k` in the feed's registry, their locks on this machine, and the note on the feed's board. A run
is alive while it holds the lock of its record, which ends with its process; on another machine, or from another folder,
while its note on the board is younger than `COUNTS_S` by the store's clock. Does not know what a run does. Only double
answers rest on this: commits, versions and positions guard themselves.
"""

import fcntl
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import IO

from deploy.config import Settings
from deploy.registry import runs
from deploy.registry.runs import Run
from deploy.registry.storage.home import Home, Where, at
from streams.errors import ConfigError, InUse, RegistryUnwritable, ShadowstreamError, Unreachable
from streams.join.board import Rival
from streams.join.store import Store
from streams.kafka.topics import owner

BEAT_S = 1.0  # between two notes on the board
COUNTS_S = 10.0  # how long a note counts
LIST_S = 5.0  # between two looks at runs/
YIELD_S = 30.0  # how long a run that was taken over has to end; one that is frozen goes on when it wakes up, and ends

Say = Callable[[str], None]


class Claim:
    """A claim on a feed; `claimed` makes it. A thread renews it until the `with` is left."""

    def __init__(self, feed: str, home: Home, number: int, run: Run, last: Run | None, *, take_over: bool) -> None:
        self._feed, self._objects, self._number, self._run, self._last = feed, home.objects, number, run, last
        self._take_over = take_over
        self._store: Store | None = None
        self._wrong: ShadowstreamError | None = None
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._renew, daemon=True, name="claim")
        self._thread.start()

    @contextmanager
    def held(self, settings: Settings, say: Say) -> Iterator[None]:
        """Claim the feed in the store as well, for the `with`; `settings` have every address.

        Raises:
            InUse: another run has it.
            StoreRefused, LogReplaced: the feed in the store joins another log than this broker's.
            Unreachable: a service does not answer.
        """
        topics = settings.topics.named(self._feed)
        with closing(Store(settings.redis)) as store:
            if store.there(self._feed, 0):
                store.check_owner(self._feed, owner(settings.kafka, (topics.predictions, topics.outcomes)))
            self._enter(store, say)
            self._store = store
            try:
                yield
            finally:
                self._stopped.set()
                self._thread.join(BEAT_S)
                with suppress(ShadowstreamError):
                    store.leave(self._feed, self._run.token)

    def check(self) -> None:
        """Check that this run still has the feed.

        Raises:
            InUse: another run has taken it over.
        """
        if self._wrong:
            raise self._wrong

    def end(self) -> None:
        """End the thread."""
        self._stopped.set()

    def _enter(self, store: Store, say: Say) -> None:
        """Note on the board that we have the feed; wait for a note to lapse whose run may have died.

        A run that is known to have ended, because it was on this machine and holds no lock, is not waited for.
        """
        take, first = self._take_over, None
        while rival := self._note(store, take=take):
            holder = runs.decode(rival.note)
            if self._last and holder == self._last and holder.host == self._run.host:
                take = True
                continue
            if first is not None and rival.age_ms < first:  # it was renewed
                raise _refusal(self._feed, holder)
            if first is None:
                say(f"waiting to see whether {_who(holder)} is alive")
            first = rival.age_ms
            time.sleep(BEAT_S / 4)

    def _note(self, store: Store, *, take: bool = False) -> Rival | None:
        return store.claim(self._feed, self._run.token, runs.encode(self._run), int(COUNTS_S * 1_000), take=take)

    def _renew(self) -> None:
        listed_s = time.monotonic()
        while not self._wrong and not self._stopped.wait(BEAT_S):
            try:
                if self._store and (rival := self._note(self._store)):
                    holder = runs.decode(rival.note)
                    if self._before(holder):  # the store went back in time
                        self._note(self._store, take=True)
                    else:
                        self._lost(holder)
                if time.monotonic() - listed_s >= LIST_S:
                    listed_s = time.monotonic()
                    if (newest := runs.newest(self._objects)) > self._number:
                        self._lost(runs.read(self._objects, newest))
            except Unreachable:
                continue  # whoever needs the store says so
            except ShadowstreamError as wrong:
                self._wrong = wrong

    def _before(self, run: Run) -> bool:
        """Return whether a run had this registry before us."""
        return any(runs.read(self._objects, number) == run for number in range(self._number))

    def _lost(self, to: Run | None) -> None:
        self._wrong = InUse(f"feed {self._feed!r} was taken over by {_who(to)}; this run has ended")


@contextmanager
def claimed(feed: str, where: Where, settings: Settings, say: Say, *, take_over: bool = False) -> Iterator[Claim]:
    """Claim a feed's registry for the `with`, before anything in it is touched.

    `take_over` takes it from a run that is alive. The store is claimed by `Claim.held`, once it is known.

    Raises:
        InUse: another run has it.
        ConfigError: it cannot be written, or what there is to take over ends with the run that has it.
    """
    home = at(where)
    home.check()
    before, holder = runs.newest(home.objects), _holder(home)
    if holder and not take_over:
        raise _refusal(feed, holder)
    if holder and settings.kafka.bootstrap is None:
        raise ConfigError(
            f"--take-over needs a broker and a store that last: feed {feed!r} is run by {_who(holder)}, on embedded "
            "ones that would end with it. End that run first"
        )
    run = Run(socket.gethostname(), os.getpid(), str(Path.cwd()), secrets.token_hex(8), time.time_ns() // 1_000_000)
    with _recorded(feed, home, run, before + 1):
        if holder:
            say(f"taking over from {_who(holder)}")
            _await_end(_lock_of(home, before), holder)
        last = runs.read(home.objects, before) if before >= 0 else None
        claim = Claim(feed, home, before + 1, run, last, take_over=take_over)
        try:
            yield claim
        finally:
            claim.end()


def _holder(home: Home) -> Run | None:
    """Return the newest run, if it is alive on this machine."""
    number = runs.newest(home.objects)
    run = runs.read(home.objects, number) if number >= 0 else None
    return run if run and _alive(_lock_of(home, number), run) else None


def _lock_of(home: Home, number: int) -> Path:
    """Return the file that a run locks: its record, or for one in a bucket an empty file on the run's machine."""
    return home.folder / runs.name_of(number)


@contextmanager
def _recorded(feed: str, home: Home, run: Run, number: int) -> Iterator[None]:
    """Write the record of a run, and hold its lock for the `with`."""
    path = _lock_of(home, number)
    try:
        if not runs.create(home.objects, number, run):
            raise _refusal(feed, runs.read(home.objects, number))
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("ab")
    except RegistryUnwritable as wrong:
        raise ConfigError(f"registry.path must be a place that can be written: {wrong}") from None
    except OSError as wrong:
        at = f"{wrong.filename}: {wrong.strerror}"
        raise ConfigError(f"registry.path must be a folder that can be written: {at}") from None
    with file:
        _lock(file)
        yield


def _lock(file: IO[bytes]) -> bool | None:
    """Lock a record; False if another process has locked it, None where the file system has no locks."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _alive(path: Path, run: Run | None) -> bool:
    """Return whether a run's process is alive on this machine."""
    try:
        with path.open("rb") as file:
            locked = _lock(file)
    except FileNotFoundError:  # of a run on another machine
        locked = None
    if locked is not None or run is None:
        return locked is False
    with suppress(PermissionError):  # it exists, and is another user's
        try:
            os.kill(run.process, 0)
        except ProcessLookupError:
            return False
    return run.host == socket.gethostname()


def _await_end(path: Path, run: Run) -> None:
    deadline = time.monotonic() + YIELD_S
    while _alive(path, run) and time.monotonic() < deadline:
        time.sleep(BEAT_S / 10)


def _refusal(feed: str, holder: Run | None) -> InUse:
    return InUse(
        f"feed {feed!r} is run by {_who(holder)}. End that run, or take over by --take-over; for another pipeline or "
        "feed set another name"
    )


def _who(run: Run | None) -> str:
    if run is None:
        return "another run"
    since = datetime.fromtimestamp(run.started_ms / 1_000, UTC)
    return f"process {run.process} on {run.host} in {run.folder}, since {since:%Y-%m-%d %H:%M:%S} UTC"
