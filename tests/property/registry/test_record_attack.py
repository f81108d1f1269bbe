"""The record under attack: writers, sealers, readers, a backup and sweeps are held up, die and lose answers anywhere.

The real `Log`, `Sealer` and `let_go` run on a store in memory that asks, before every request, who goes on. Whatever
the order: one content a number was accepted, what was read never changes, nothing is missing from where the log begins
on, the newest never goes back, and a backup of `tail/`, then `log/`, then `base/`, has all that there was when it
began. Each rule that is taken away is seen to be missed.
"""

from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from random import Random
from threading import Semaphore, Thread
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from deploy.registry.gc.letting import let_go, old
from deploy.registry.log import frames
from deploy.registry.log import log as log_module
from deploy.registry.log import sealer as sealer_module
from deploy.registry.log.log import Log
from deploy.registry.log.sealer import Sealer
from deploy.registry.log.segments import BASE, LOG, TAIL, digest, tail_name
from streams.errors import LetGo, RegistryError

REQUESTS = 1_500
HELD_UP, DIES, LOST, REFUSED = 0.012, 0.003, 0.06, 0.02  # each request's chance


class Wrong(Exception):
    """What must never be."""


class Over(BaseException):
    """The schedule is over, or the process died."""


class Memory:
    """Objects; `turn` is called before each request. An answer may be lost, and a create refused for nothing."""

    def __init__(self, random: Random, turn: Callable[[], None]) -> None:
        self.kept: dict[str, bytes] = {}
        self._random, self._turn = random, turn

    def create(self, name: str, data: bytes) -> bool:
        self._turn()
        if name in self.kept or self._random.random() < REFUSED:
            return False
        self.kept[name] = data
        return self._random.random() >= LOST  # the client has sent it again, and sees it there

    def get(self, name: str) -> bytes | None:
        self._turn()
        return self.kept.get(name)

    def list(self, folder: str, after: str = "") -> list[str]:
        self._turn()
        return sorted(name for name in self.kept if name.startswith(f"{folder}/") and name > after)

    def delete(self, name: str) -> None:
        self._turn()
        self.kept.pop(name, None)


class Actor:
    """A process in a thread, which goes on when it is told to."""

    def __init__(self, live: Callable[[], object]) -> None:
        self.go, self.back, self.wakes, self.dies = Semaphore(0), Semaphore(0), 0, False
        self.wrong: Wrong | RegistryError | None = None
        self._live, self._over = live, False
        self._thread = Thread(target=self._lives)
        self._thread.start()

    def step(self) -> None:
        self.go.release()
        self.back.acquire()

    def turn(self) -> None:
        self.back.release()
        self.go.acquire()
        if self._over or self.dies:
            self.dies = False
            raise Over

    def end(self) -> None:
        self._over = True
        self.go.release()
        self._thread.join()

    def _lives(self) -> None:
        self.go.acquire()
        while not (self._over or self.wrong):
            with suppress(Over):
                try:
                    self._live()
                except (Wrong, RegistryError) as wrong:
                    self.wrong = wrong
        self.back.release()


class World:
    """What was accepted and read, and who is there."""

    def __init__(self, seed: int, backup: tuple[str, ...] = (TAIL, LOG, BASE), lets: int = 2) -> None:
        self.random, self.backup = Random(seed), backup
        self.objects = Memory(self.random, lambda: None)
        self.accepted: dict[int, bytes] = {}
        self.newest = 0
        self.write(Log(self.objects), 0, b"")
        self.objects._turn = lambda: self.now.turn()
        lives = [self.writes, self.writes, self.writes, self.seals, self.seals, self.reads, self.reads, self.copies,
                 *[self.lets] * lets]  # fmt: skip
        self.actors = [Actor(partial(self.lives, live)) for live in lives]

    def run(self) -> None:
        """Raise Wrong or RegistryError for what went wrong."""
        for at in range(REQUESTS):
            able = [actor for actor in self.actors if actor.wakes <= at]
            if not able:
                continue
            self.now = self.random.choice(able)
            if self.random.random() < HELD_UP:
                self.now.wakes = at + self.random.choice([20, 100, 400, 1_500])
                continue
            self.now.dies = self.random.random() < DIES
            self.now.step()
            if self.now.wrong:
                break
        for actor in self.actors:
            actor.end()
        self.objects._turn = lambda: None
        for wrong in filter(None, (actor.wrong for actor in self.actors)):
            raise wrong
        self.check_all(self.objects, self.newest)

    def lives(self, live: Callable[[Log], Iterator[None]]) -> None:
        """Live until something ends it; who begins anew knows nothing, and does so where a commit was let go."""
        with suppress(LetGo):
            for _ in live(Log(self.objects)):
                pass

    def writes(self, log: Log) -> Iterator[None]:
        number = log.newest()
        last = log.read(number) or b""
        while self.random.random() < 0.9:
            if not self.write(log, number + 1, last):
                break
            number, last = number + 1, self.accepted[number + 1]
            yield

    def write(self, log: Log, number: int, last: bytes) -> bool:
        token, parent = self.random.randrange(3), digest(last) if number else ""
        line = b'{"number":%d,"parent":"%s","token":%d}' % (number, parent.encode(), token)
        stands = log.create(number, line)
        if stands and self.accepted.setdefault(number, line) != line:
            raise Wrong(f"commit {number} was accepted twice")
        return stands

    def seals(self, log: Log) -> Iterator[None]:
        sealer = Sealer(self.objects, commits=2)
        while True:
            sealer.step()
            yield

    def reads(self, log: Log) -> Iterator[None]:
        before, begins = self.newest, log.begins()
        newest = log.newest()
        if newest < before:
            raise Wrong(f"the newest was {before}, and is {newest}")
        self.newest = max(self.newest, newest)
        numbers = range(begins, newest + 1) if self.random.random() < 0.5 else range(newest, begins - 1, -1)
        start = self.random.randrange(len(numbers))
        for number in numbers[start : start + 12]:
            self.check(log, number)
            yield

    def lets(self, log: Log) -> Iterator[None]:
        """Have the log begin later, at a commit that is sealed, and delete what comes before."""
        while True:
            begins, sealed = log.begins(), log.sealed()
            if sealed > begins and self.random.random() < 0.5:
                number = self.random.randint(begins + 1, sealed)
                for act in self.order:
                    act(self.objects, number)
                    yield
            yield

    order: tuple[Callable[["Memory", int], object], ...]

    def copies(self, log: Log) -> Iterator[None]:
        """Back up, and read what was backed up."""
        newest, copy = log.newest(), Memory(Random(0), lambda: None)
        copy._random.random = lambda: 1.0  # type: ignore[method-assign]
        for folder in self.backup:
            gone = True
            while gone:  # what was merged meanwhile is in another one
                gone = False
                for name in self.objects.list(folder):
                    data = copy.kept.get(name) or self.objects.get(name)
                    if data is not None:
                        copy.kept[name] = data
                    gone = gone or (data is None and folder == LOG)
        yield
        self.check_all(copy, newest)
        yield

    def check_all(self, objects: Memory, least: int) -> None:
        log = Log(objects)
        if (newest := log.newest()) < least:
            raise Wrong(f"the newest was {least}, and is {newest}")
        for number in range(log.begins(), newest + 1):
            self.check(log, number)

    def check(self, log: Log, number: int) -> None:
        try:
            line = log.read(number)
        except LetGo:
            if number >= log.begins():
                raise Wrong(f"commit {number} was not let go") from None
            raise
        if line is None:
            raise Wrong(f"commit {number} is not there")
        if self.accepted.setdefault(number, line) != line:
            raise Wrong(f"commit {number} was another one before")


def begin(objects: Memory, number: int) -> None:
    objects.create(f"{BASE}/{number:08}.json", b"")


def delete(objects: Memory, number: int) -> None:
    let_go(objects)


World.order = begin, delete


@pytest.fixture(autouse=True, scope="module")
def small() -> Iterator[None]:
    """Merge three neighbours, so that a short schedule has merges of merges."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sealer_module, "NEIGHBOURS", 3)
        yield


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 1 << 32))
@example(3206974)  # a segment that was merged between the listing and its reading, over a phantom
def test_no_order_makes_anything_wrong(seed: int) -> None:
    World(seed).run()


def unseen(log: Log, number: int) -> list[str]:
    return []


def the_one_before(log: Log, number: int) -> list[str]:
    return [] if log._objects.get(tail_name(number - 1)) else [tail_name(number)]


alone = Sealer._alone


def newest_too(sealer: Sealer) -> dict[int, str]:
    found = alone(sealer)
    return found | {max(found, default=0) + 1: tail_name(max(found, default=0) + 1)}


made, found = Sealer._made, Log._found


def deleted_first(sealer: Sealer, lines: list[bytes]) -> bool:
    for number, name in sorted(alone(sealer).items())[:-1]:
        if any(b'{"number":%d,' % number in line for line in lines):
            sealer._objects.delete(name)
    return made(sealer, lines)


def alone_counts_first(log: Log, number: int) -> tuple[bytes | None, bool]:
    name, data = log._alone(number)
    return (frames.unpack(name, data), False) if data else found(log, number)


def deletes_first(objects: Memory, number: int) -> None:
    for name in old(objects, number):
        objects.delete(name)


def never_let_go(log: Log, number: int) -> tuple[bytes | None, bool]:
    try:
        return found(log, number)
    except LetGo:
        return None, False


MUTANTS: dict[str, tuple[object, str, object]] = {
    "nothing above is looked for": (Log, "_above", unseen),
    "the one before is looked for instead": (Log, "_above", the_one_before),
    "the newest is sealed too": (Sealer, "_alone", newest_too),
    "deleted before the segment is there": (Sealer, "_made", deleted_first),
    "a phantom counts before what is sealed": (Log, "_found", alone_counts_first),
    "what was merged meanwhile is a hole": (log_module, "TRIES", 1),
}
LETTING: dict[str, tuple[object, str, object]] = {
    "old samples go before it is said where the log begins": (World, "order", (deletes_first, begin)),
    "what was let go is a hole": (Log, "_found", never_let_go),
}


def missed(seeds: int, **more: Any) -> bool:
    for seed in range(seeds):
        try:
            World(seed, **more).run()
        except (Wrong, RegistryError):
            return True
    return False


@pytest.mark.parametrize("rule", MUTANTS | LETTING)
def test_each_rule_is_missed(rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    of, name, mutant = (MUTANTS | LETTING)[rule]
    monkeypatch.setattr(of, name, mutant)
    assert missed(400, lets=2 if rule in LETTING else 0)


@pytest.mark.parametrize("backup", [(LOG, TAIL, BASE), (BASE, TAIL, LOG)])
def test_a_backup_in_another_order_is_missed(backup: tuple[str, ...]) -> None:
    assert missed(400, backup=backup)
