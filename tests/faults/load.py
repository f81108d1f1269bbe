"""The load of a fault run: predictions and outcomes in known numbers; copies, early, late and hostile ones among them.

Owns what was published, and what must come of it. Publishes until the broker has acknowledged: what may or may not have
arrived is sent again, as any producer does.
"""

import threading
import time
from random import Random

from streams.errors import BrokerUnreachable
from streams.events import encode
from streams.kafka import Sink, Tp
from streams.policy import JoinPolicy

T = 1_700_000_000_000
TICK_MS = 100  # of event time between predictions
BATCH = 200
HOSTILE = [
    b"",
    b"{",
    b"\xff\xfe",
    b'{"id": 7}',
    b'{"id":"x","t":4102444800000}',
    b'{"id":"x","t":-1}',
    b"[" * 100_000,
]


class Load:
    """One thread that publishes until `stop`. `outcomes`: id → (time, label) of those that have one."""

    def __init__(self, bootstrap: str, topics: tuple[str, str], partitions: int, policy: JoinPolicy, seed: int) -> None:
        self._bootstrap, self._topics, self.partitions = bootstrap, topics, [partitions, partitions]
        self._window_ms, self._policy, self._random = int(policy.window_s * 1_000), policy, Random(seed)
        self.predictions: dict[str, int] = {}
        self.outcomes: dict[str, tuple[int, int]] = {}
        self.hostile = 0
        self.quiet = threading.Event()  # outcomes wait while it is set, predictions go on
        self._later: list[tuple[int, str]] = []
        self._stop = threading.Event()
        self._failed: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Publish the outcomes that are left, and end."""
        self._stop.set()
        self._thread.join()
        if self._failed:
            raise self._failed

    def expected(self) -> dict[str, float]:
        """Give id → last label, by the policy's words."""
        labels: dict[str, float] = {}
        for key, t in self.predictions.items():
            when, label = self.outcomes.get(key, (0, 0))
            told = key in self.outcomes and (when <= t + self._window_ms or self._policy.late == "correct")
            if told:
                labels[key] = label
            elif self._policy.absent == "negative":
                labels[key] = self._policy.negative_label
        return labels

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                self._publish(self._some() + ([] if self.quiet.is_set() else self._told(BATCH)))
                time.sleep(0.02)
            self.quiet.clear()
            while self._later:
                self._publish(self._told(1_000))
        except BaseException as wrong:
            self._failed = wrong
            raise

    def _some(self) -> list[tuple[Tp, bytes]]:
        records = []
        for _ in range(BATCH):
            n = len(self.predictions)
            key, t = f"id-{n}", T + n * TICK_MS
            self.predictions[key] = t
            records += self._copies(0, encode({"id": key, "t": t, "x": n}))
            if self._random.random() < 0.7:
                delay = self._random.randrange(2 * self._window_ms)
                self.outcomes[key] = t + delay, n % 7
                self._later.append((n + self._random.randrange(-20, 3 * BATCH), key))
            if self._random.random() < 0.01:
                self.hostile += 1
                topic = self._random.randrange(2)
                records.append((self._tp(topic), self._random.choice(HOSTILE)))
        return records

    def _told(self, count: int) -> list[tuple[Tp, bytes]]:
        self._later.sort()
        told, self._later = self._later[:count], self._later[count:]
        records = []
        for _, key in told:
            t, label = self.outcomes[key]
            records += self._copies(1, encode({"id": key, "t": t, "label": label}))
        return records

    def _copies(self, topic: int, value: bytes) -> list[tuple[Tp, bytes]]:
        copies = 2 if self._random.random() < 0.05 else 1
        return [(self._tp(topic), value) for _ in range(copies)]

    def _tp(self, topic: int) -> Tp:
        return Tp(self._topics[topic], self._random.randrange(self.partitions[topic]))

    def _publish(self, records: list[tuple[Tp, bytes]]) -> None:
        while True:
            try:
                sink = Sink(self._bootstrap)
                try:
                    for tp, value in records:
                        sink.send(tp, key=b"k", value=value, t_ms=T)
                    sink.flush()
                    return
                finally:
                    sink.close()
            except BrokerUnreachable:
                time.sleep(0.2)
