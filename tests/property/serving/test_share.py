"""Servers die, freeze and wake, the supervisor too, orders and commits are late: every request is answered.

The real `Assignment` and `Requests`, over a log in memory. A rule taken away must lose requests: the mutants.
"""

from collections.abc import Mapping, Sequence
from random import Random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deploy.serving.assignment import GATHER_S, Assignment
from deploy.serving.share import COMMIT_EVERY_S, Order, Requests, Share
from streams.kafka import Polled, Tp

TOPIC, NAMES, PARTITIONS = "asked", ("a", "b", "c"), 4
STEPS = ("ask", "serve", "serve", "answer", "answer", "look", "look", "kill", "begin", "freeze", "wake", "lose", "find",
         "late", "commit", "wait")  # fmt: skip
Step = tuple[str, int]


class Log:
    """A server's reader of the log; the position is what was polled."""

    def __init__(self, ends: Mapping[Tp, int]) -> None:
        self._ends, self._at = ends, dict[Tp, int]()

    def assign(self, tps: Mapping[Tp, int]) -> None:
        self._at = dict(tps)

    def position(self, tp: Tp) -> int:
        return self._at[tp]

    def starts(self) -> dict[Tp, int]:
        return dict.fromkeys(self._at, 0)

    def ends(self) -> dict[Tp, int]:
        return {tp: self._ends[tp] for tp in self._at}

    def poll(self, timeout_ms: int, max_records: int) -> list[Polled]:
        polled = []
        for tp, at in self._at.items():
            if end := min(at + max_records, self._ends[tp]) - at:
                self._at[tp] = at + end
                polled.append(Polled(tp, at, at + end, [], []))
        return polled


class Kept:
    """The committed offsets, which arrive late, or when they are waited for."""

    def __init__(self, committed: dict[Tp, int], late: list[Mapping[Tp, int]]) -> None:
        self._committed, self._late = committed, late

    def committed(self, tps: Sequence[Tp]) -> dict[Tp, int]:
        return {tp: self._committed[tp] for tp in tps if tp in self._committed}

    def commit(self, offsets: Mapping[Tp, int]) -> None:
        self._late.append(dict(offsets))

    def commit_now(self, offsets: Mapping[Tp, int]) -> None:
        self._committed.update(offsets)


class Server:
    """One server's process: what it has polled is answered in a later step, in which it may have ended."""

    def __init__(self, world: "World") -> None:
        self.share, self.world, self.frozen = Share(), world, False
        self._polled: list[Polled] = []
        self.requests = world.requests(
            TOPIC, Log(world.ends), Kept(world.committed, world.commits), self.share, lambda: world.now_s
        )

    def serve(self, most: int) -> None:
        if not self._polled:
            self.requests.follow()
            self._polled = self.requests.poll(0, most)

    def answer(self) -> None:
        for part in self._polled:
            self.world.answers[part.tp] |= set(range(part.start, part.end))
        self.requests.answered(self._polled)
        self._polled = []
        self.requests.commit()


class World:
    """A log, its servers, and their supervisor, which may be away."""

    def __init__(self, requests: type[Requests] = Requests, assignment: type[Assignment] = Assignment) -> None:
        tps = [Tp(TOPIC, n) for n in range(PARTITIONS)]
        self.ends, self.answers = dict.fromkeys(tps, 0), {tp: set[int]() for tp in tps}
        self.committed, self.commits = dict[Tp, int](), list[Mapping[Tp, int]]()
        self.late: list[tuple[Server, Order]] = []
        self.requests, self._assignment, self.now_s = requests, assignment, 0.0
        self.servers: dict[str, Server] = {name: Server(self) for name in NAMES}
        self.supervisor: Assignment | None = self.assigning(finds=False)

    def assigning(self, *, finds: bool = True) -> Assignment:
        return self._assignment(NAMES, PARTITIONS, finds=finds, clock=lambda: self.now_s)

    def do(self, what: str, n: int) -> None:
        name, tp = NAMES[n % len(NAMES)], Tp(TOPIC, n % PARTITIONS)
        server = self.servers.get(name)
        if server and not server.frozen and what in ("serve", "answer"):
            server.serve(1 + n % 3) if what == "serve" else server.answer()
        elif what == "ask":
            self.ends[tp] += 1 + n
        elif what == "kill":
            self.servers.pop(name, None)
        elif what == "begin" and self.supervisor and not server:
            self.supervisor.gone(name)
            self.supervisor.begun(name)
            self.servers[name] = Server(self)
        elif server and what in ("freeze", "wake"):
            server.frozen = what == "freeze"
        elif what in ("lose", "find"):
            self.supervisor = (self.supervisor or self.assigning()) if what == "find" else None
        elif what == "late" and self.late:
            of, order = self.late.pop(n % len(self.late))
            of.share.hear(order)
        elif what == "commit" and self.commits:
            late = self.commits.pop(n % len(self.commits))
            if n % 2:  # or it is lost
                self.committed.update(late)
        elif what == "wait":
            self.now_s += n
        elif what == "look":
            self.look(name, late=n > len(NAMES))

    def look(self, name: str, *, late: bool = False) -> None:
        """Let the supervisor ask a server; the order may be late."""
        server = self.servers.get(name)
        if self.supervisor is None:
            return
        if server is None or server.frozen:
            self.supervisor.gone(name)
            return
        if order := self.supervisor.order(name):
            if late:
                self.late.append((server, order))
            else:
                server.share.hear(order)
        self.supervisor.heard(name, server.share.followed, server.share.ordered.generation)

    def end(self) -> None:
        """Let everybody be there again, and time pass."""
        for server in self.servers.values():
            server.frozen = False
        self.supervisor = self.supervisor or self.assigning()
        for n in range(3 * PARTITIONS + max(self.ends.values())):
            self.now_s += max(GATHER_S, COMMIT_EVERY_S) + 1
            for at, name in enumerate(NAMES):
                self.do("begin", at)
                self.look(name)
                self.servers[name].serve(1 + n)
                self.servers[name].answer()
            while self.commits:
                self.committed.update(self.commits.pop(0))

    def check(self) -> None:
        assert {tp: len(answered) for tp, answered in self.answers.items()} == self.ends
        assert {tp: end for tp, end in self.ends.items() if end} == {tp: n for tp, n in self.committed.items() if n}
        parts = [server.share.followed.partitions for server in self.servers.values()]
        assert sorted(n for part in parts for n in part) == list(range(PARTITIONS))
        assert max(map(len, parts)) - min(map(len, parts)) <= 1


@given(st.lists(st.tuples(st.sampled_from(STEPS), st.integers(0, 7)), max_size=150))
def test_every_request_is_answered_and_every_partition_has_one_server(steps: list[Step]) -> None:
    world = World()
    for step in steps:
        world.do(*step)
    world.end()
    world.check()


class FromTheEnd(Requests):
    """Begins what it wins at the log's end."""

    def follow(self, held: Any = ()) -> Any:
        self._kept.committed = lambda tps: {tp: self._log._ends[tp] for tp in tps}  # type: ignore[attr-defined, method-assign]
        return super().follow(held)


class BeforeAnswers(Requests):
    """Commits what it has read, before it is answered."""

    def poll(self, timeout_ms: int, max_records: int) -> list[Polled]:
        polled = super().poll(timeout_ms, max_records)
        self.answered(polled)
        self.commit()
        return polled


class Forgetful(Assignment):
    """Takes no note of the generations of an earlier supervisor."""

    def heard(self, server: str, followed: Order, newest: int) -> None:
        super().heard(server, followed, -1)


@pytest.mark.parametrize(
    ("requests", "assignment"),
    [(FromTheEnd, Assignment), (BeforeAnswers, Assignment), (Requests, Forgetful)],
)
def test_without_a_rule_it_fails(requests: type[Requests], assignment: type[Assignment]) -> None:
    assert any(fails(World(requests, assignment), Random(seed)) for seed in range(300))


def fails(world: World, random: Random) -> bool:
    for _ in range(150):
        world.do(random.choice(STEPS), random.randrange(8))
    world.end()
    try:
        world.check()
    except AssertionError:
        return True
    return False


def test_the_random_worlds_of_the_mutants_hold_with_all_rules() -> None:
    assert not any(fails(World(), Random(seed)) for seed in range(300))


def test_one_partition_moves_at_a_time_and_only_once_it_is_given_up() -> None:
    shared = Assignment(("a", "b"), 4)
    shared.gone("b")
    everything = ordered(shared, "a")
    assert everything.partitions == {0, 1, 2, 3}
    shared.heard("b", Order(-1, frozenset()), -1)
    smaller = ordered(shared, "a")
    assert smaller.partitions == {0, 1, 2}
    assert not ordered(shared, "b").partitions
    shared.heard("a", everything, smaller.generation)  # it has heard, and not given it up yet
    assert not ordered(shared, "b").partitions
    shared.heard("a", smaller, smaller.generation)
    assert ordered(shared, "b").partitions == {3}


def test_a_new_supervisor_asks_before_it_orders() -> None:
    now = [0.0]
    shared = Assignment(("a", "b", "c"), 3, finds=True, clock=lambda: now[0])
    assert shared.order("a") is None
    shared.heard("a", Order(7, frozenset({0, 2})), 7)
    shared.heard("b", Order(8, frozenset({1})), 9)
    assert shared.order("a") is None
    now[0] = GATHER_S
    assert ordered(shared, "a").partitions == {0, 2}
    assert ordered(shared, "b").partitions == {1}
    assert ordered(shared, "b").generation > 9


def ordered(shared: Assignment, server: str) -> Order:
    """Return a server's order, which there must be."""
    order = shared.order(server)
    assert order is not None
    return order
