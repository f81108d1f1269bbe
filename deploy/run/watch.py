"""A thread that asks a broker how its topics are, so that a broker that does not answer delays nobody.

Owns the pace. Does not judge the answers.
"""

import threading
from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field

from streams.errors import ShadowstreamError
from streams.kafka import Source, Tp
from streams.kafka.admin import least_in_sync
from streams.kafka.broker import Broker
from streams.kafka.held import Held, held
from streams.kafka.topics import Topic, look

ASK_EVERY_S = 3.0  # a producer's client learns of a new partition within minutes


@dataclass(frozen=True)
class Answer:
    """One answer: the topics, None where there is none; what is held in two looks in a row; or what was `wrong`.

    `least` has the topics' min.insync.replicas, `ends` where the log of what is read ends.
    """

    topics: dict[str, Topic | None] = field(default_factory=dict)
    held: list[Held] = field(default_factory=list)
    least: dict[str, int] = field(default_factory=dict)
    ends: dict[Tp, int] = field(default_factory=dict)
    wrong: ShadowstreamError | None = None


class Watch:
    """Asks about `topics`, and what is held of those that are `read`."""

    def __init__(self, broker: Broker, topics: Sequence[str], read: Sequence[str]) -> None:
        self._broker, self._topics, self._read = broker, topics, read
        self._least: dict[str, int] = {}
        self._before: dict[tuple[str, int], int] = {}
        self._answer: Answer | None = None
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        """Begin to ask."""
        self._thread.start()

    def stop(self) -> None:
        """Ask no more."""
        self._stopped.set()

    def take(self) -> Answer | None:
        """Return the newest answer; None if there was none since the last call."""
        answer, self._answer = self._answer, None
        return answer

    def _run(self) -> None:
        while not self._stopped.wait(ASK_EVERY_S):
            try:
                self._answer = self._ask()
            except ShadowstreamError as wrong:
                self._answer = Answer(wrong=wrong)

    def _ask(self) -> Answer:
        topics = look(self._broker, self._topics)
        there = [name for name, topic in topics.items() if topic]
        if not self._least:
            with suppress(ShadowstreamError):  # the right to see settings may be missing
                self._least = least_in_sync(self._broker, there)
        tps = [Tp(name, n) for name in self._read if (topic := topics[name]) for n in range(topic.partitions)]
        return Answer(topics, self._held(tps), self._least, self._ends(tps))

    def _ends(self, tps: list[Tp]) -> dict[Tp, int]:
        with suppress(ShadowstreamError), closing(Source(self._broker, tps)) as source:
            return source.ends()
        return {}

    def _held(self, tps: list[Tp]) -> list[Held]:
        """Return what is held at the same offset as in the look before: short transactions are nothing to tell."""
        found: list[Held] = []
        with suppress(ShadowstreamError):  # a partition without a leader is told by itself
            found = held(self._broker, tps)
        lasting = [one for one in found if self._before.get((one.topic, one.partition)) == one.offset]
        self._before = {(one.topic, one.partition): one.offset for one in found}
        return lasting
