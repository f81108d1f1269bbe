"""Which server answers which partition of the requests: assigned by the run's supervisor, not leased.

Owns the orders: who has a partition, and that one is moved only when its server has given it up, or is gone. Servers
never stop because nobody gives orders, and nothing is lost where two answer the same: `share.py`. Pure: does not know
processes or Kafka.
"""

import time
from collections.abc import Callable, Sequence

from deploy.serving.share import Order

GATHER_S = 5.0  # how long a supervisor that finds servers waits until each has said what it has


class Assignment:
    """The orders to `servers`, who share so many `partitions`, from 0.

    A supervisor that `finds` servers gives no orders before each has said what it has, or `GATHER_S` are over; one that
    starts them knows that they have nothing.

    >>> shared = Assignment(["a", "b"], 3)
    >>> [sorted(shared.order(name).partitions) for name in "ab"]
    [[0, 2], [1]]
    >>> shared.gone("a")
    >>> [sorted(shared.order(name).partitions) for name in "ab"]
    [[], [0, 1, 2]]
    """

    def __init__(
        self, servers: Sequence[str], partitions: int, *, finds: bool = False,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self._servers, self._partitions, self._clock = tuple(servers), partitions, clock
        self._generation = 0
        self._of: dict[int, str] = {}  # who shall have a partition
        self._leaving: dict[int, tuple[str, int]] = {}  # who has it still, and since which generation it shall not
        self._there = set[str]() if finds else set(servers)  # who may be given partitions
        self._gathers_until_s = clock() + GATHER_S if finds else 0.0
        self._unheard = set(servers) if finds else set[str]()
        self._even()

    def grow(self, partitions: int) -> None:
        """Take note that there are more partitions."""
        self._partitions = max(self._partitions, partitions)
        self._even()

    def heard(self, server: str, followed: Order, newest: int) -> None:
        """Take a server's answer: the last order that it has followed, and the newest generation that it has heard."""
        self._there.add(server)
        if newest > self._generation:  # of an earlier supervisor; it takes none that is not above it
            self._generation = newest + 1
        if self._gathers:
            for partition in followed.partitions:
                self._of.setdefault(partition, server)
        self._unheard.discard(server)
        for partition, (leaves, generation) in list(self._leaving.items()):
            if leaves == server and followed.generation >= generation and partition not in followed.partitions:
                del self._leaving[partition]
        self._even()

    def gone(self, server: str) -> None:
        """Take note that a server's process has ended, or answers no more: it has nothing, until it is heard again."""
        self._there.discard(server)
        self._unheard.discard(server)
        self._of = {partition: of for partition, of in self._of.items() if of != server}
        self._leaving = {partition: of for partition, of in self._leaving.items() if of[0] != server}
        self._even()

    def away(self, server: str) -> None:
        """Take note that a server waits for something it needs: others, if there are any, have its partitions."""
        if self._there - {server}:
            self.gone(server)

    def begun(self, server: str) -> None:
        """Take note that a process was started for it: where no other server is there, it is given all."""
        if not self._there:
            self._there.add(server)
        self._even()

    def order(self, server: str) -> Order | None:
        """Return what a server shall have now; None while that is not known."""
        if self._gathers:
            return None
        self._even()
        return Order(self._generation, frozenset(n for n, of in self._of.items() if of == server))

    @property
    def _gathers(self) -> bool:
        return bool(self._unheard) and self._clock() < self._gathers_until_s

    def _even(self) -> None:
        """Give what nobody has to who has least; move one partition from who has most, if none is on its way."""
        if self._gathers or not self._there:
            return
        before = dict(self._of)
        for partition in range(self._partitions):
            if partition not in self._of and partition not in self._leaving:
                self._of[partition] = self._least()
        most, least = max(self._there, key=self._count), self._least()
        if not self._leaving and self._count(most) - self._count(least) > 1:
            partition = max(n for n, of in self._of.items() if of == most)
            del self._of[partition]
            self._leaving[partition] = (most, self._generation + 1)
        if self._of != before:
            self._generation += 1

    def _least(self) -> str:
        return min(self._there, key=lambda name: (self._count(name), self._servers.index(name)))

    def _count(self, server: str) -> int:
        return sum(of == server for of in self._of.values())
