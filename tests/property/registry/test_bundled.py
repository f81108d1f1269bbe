"""Syncs are bundled while all goes on: every version stays, whoever reads, lags or crashes between any two calls."""

from collections.abc import Callable
from contextlib import suppress
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from deploy.registry.kinds import CHAMPIONS
from deploy.registry.log.bundler import Bundler
from deploy.registry.log.bundles import VERSIONS, Bundles
from deploy.registry.storage.memory import Memory


class Crash(Exception):
    """The process has ended here."""


class Hooked(Memory):
    """Objects, before each call on which something is done."""

    def __init__(self, of: Memory, do: Callable[[], object]) -> None:
        self._of, self._do = of, do

    def create(self, name: str, data: bytes, *, private: bool = False) -> bool:
        self._do()
        return self._of.create(name, data)

    def get(self, name: str) -> bytes | None:
        self._do()
        return self._of.get(name)

    def list(self, folder: str, after: str = "") -> list[str]:
        self._do()
        return self._of.list(folder, after)

    def delete(self, name: str) -> None:
        self._do()
        self._of.delete(name)


def file(number: int, sync_of: int | None, text: str = "") -> bytes:
    return b'{"number":%d,"artifact":"%s","candidate":null,"offset":[0.0],"at_ms":0,"learned":0,"evidence":"%s"%s}' % (
        number, b"f" * 64, text.encode(), b"" if sync_of is None else b',"sync_of":%d' % sync_of,
    )  # fmt: skip


class World:
    """A feed's versions, and what each must be."""

    def __init__(self, seed: int, share: float = 1 / 6) -> None:
        """Of all versions, such a share was tested."""
        self.share = share
        self.random, self.objects, self.made = Random(seed), Memory(), list[bytes]()
        self.tested, self.turns = 0, 0
        self.write()

    def write(self) -> None:
        """Make the next version."""
        number = len(self.made)
        if not number or self.random.random() < self.share:
            self.tested = number
        self.made.append(file(number, None if number == self.tested else self.tested))
        assert Bundles(self.objects, CHAMPIONS.object).create(number, self.made[-1])

    def late(self) -> None:
        """Have a writer that was held up create a version that there is, which counts."""
        number = self.random.randrange(len(self.made))
        other = file(number, None, "another")
        if self.random.random() < 0.5:  # it ends before it looks whether it was late
            self.objects.create(CHAMPIONS.object(number), other)
            return
        assert not Bundles(self.objects, CHAMPIONS.object).create(number, other)

    def bundle(self, do: Callable[[], object] = lambda: None) -> None:
        Bundler(Hooked(self.objects, do), keeps=3, syncs=3).step()

    def maybe(self) -> None:
        """Do what another process may do between two calls of this one."""
        if self.turns and self.random.random() < 0.3:
            self.turns -= 1
            self.random.choice((self.write, self.late, self.bundle))()

    def crash(self) -> None:
        if self.random.random() < 0.1:
            raise Crash

    def read(self, do: Callable[[], object] = lambda: None) -> None:
        versions, count = Bundles(Hooked(self.objects, do), CHAMPIONS.object), len(self.made)
        for number in self.random.choices(range(count), k=count):
            assert [versions.read(number), versions.read(number)] == [self.made[number]] * 2

    def live(self) -> None:
        for _ in range(self.random.randrange(60)):
            self.write()
            self.turns = 6
            with suppress(Crash):
                self.random.choice((
                    self.late, self.bundle, lambda: self.bundle(self.crash), lambda: self.bundle(self.maybe),
                    lambda: self.read(self.maybe),
                ))()  # fmt: skip
        self.read()


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 2**32))
def test_every_version_stays_whatever_is_done_between_two_calls(seed: int) -> None:
    World(seed).live()


def test_objects_are_few_however_many_syncs_there_were() -> None:
    world = World(0, share=0)
    while len(world.made) < 400:
        world.write()
    bundler = Bundler(world.objects, keeps=3, syncs=3)
    while bundler.step():
        pass
    assert len(world.objects.list(CHAMPIONS.name)) == 4  # the one that was tested, and the newest
    assert len(world.objects.list(VERSIONS)) == 1
    world.read()
