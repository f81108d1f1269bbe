"""The load of a fault run: known numbers of predictions and outcomes, with copies, early, late and hostile ones.

Owns what was published, and what must come of it; publish.py owns how it gets into the log.
"""

import threading
import time
from random import Random

from streams.events import encode
from streams.join.policy import JoinPolicy
from streams.kafka import Tp
from tests.faults.parts.publish import Publisher

T = 1_700_000_000_000
TICK_MS = 100  # of event time between predictions
BATCH = 200
PACE_S = 0.15  # between batches
LARGE_EVERY, HOSTILE_LARGE_EVERY = 2_000, 40  # predictions, strange ones
PAST_MS, FUTURE_MS = 0, 4_102_444_800_000  # 1970 and 2100
HOSTILE = [
    b"",
    b"{",
    b"\xff\xfe",
    b'{"id": 7}',
    b'{"id":"x","t":%d}' % FUTURE_MS,
    b'{"id":"x","t":-1}',
    b"[" * 100_000,
]
Records = list[tuple[Tp, bytes, int]]  # partition, value, the record's timestamp


class Load:
    """One thread that publishes until `stop`. `outcomes`: id → (time, label) of those that have one.

    `ancient` are predictions of 1970: too late, but for those that come before anything else has been heard.
    """

    def __init__(
        self, publisher: Publisher, topics: tuple[str, str], partitions: int, policy: JoinPolicy, seed: int, large: int
    ) -> None:
        self._publisher, self._topics, self._large = publisher, topics, large
        self.partitions = [partitions, partitions]
        self._window_ms, self._policy, self._random = int(policy.window_s * 1_000), policy, Random(seed)
        self.predictions: dict[str, int] = {}
        self.outcomes: dict[str, tuple[int, int]] = {}
        self.ancient: set[str] = set()
        self.hostile = 0
        self.quiet = threading.Event()  # outcomes wait while it is set, predictions go on
        self._burst = 0
        self._later: list[tuple[int, str]] = []
        self._stop = threading.Event()
        self._failed: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def burst(self, count: int) -> None:
        """Publish so many malformed records as well, as fast as possible."""
        self._burst += count

    def stop(self) -> None:
        """Publish the outcomes that are left, and end."""
        self._stop.set()
        self._thread.join()
        if self._failed:
            raise self._failed

    def expected(self) -> dict[str, float]:
        """Return id → last label, as the policy defines it."""
        labels: dict[str, float] = {}
        for key, t in self.predictions.items():
            when, label = self.outcomes.get(key, (0, 0))
            counts = key in self.outcomes and (when <= t + self._window_ms or self._policy.late == "correct")
            if counts:
                labels[key] = label
            elif self._policy.absent == "negative":
                labels[key] = self._policy.negative_label
        return labels

    def _run(self) -> None:
        try:
            while not self._stop.is_set():
                self._publish(self._some() + ([] if self.quiet.is_set() else self._told(BATCH)))
                time.sleep(PACE_S)
            self.quiet.clear()
            while self._later or self._burst:
                self._publish(self._told(1_000))
        except BaseException as wrong:
            self._failed = wrong
            raise

    def _publish(self, records: Records) -> None:
        malformed, self._burst = min(self._burst, 5 * BATCH), max(0, self._burst - 5 * BATCH)
        records += [self._spoilt(b"{%d" % n) for n in range(malformed)]
        self._publisher.publish(records, [self._ghost(n) for n in range(5)])

    def _some(self) -> Records:
        records = []
        for _ in range(BATCH):
            n = len(self.predictions)
            key, t = f"id-{n}", T + n * TICK_MS
            self.predictions[key] = t
            pad = "x" * self._large if n % LARGE_EVERY == LARGE_EVERY // 2 else ""
            records += self._copies(0, encode({"id": key, "t": t, "x": n, "pad": pad}))
            if self._random.random() < 0.7:
                delay = self._random.randrange(2 * self._window_ms)
                self.outcomes[key] = t + delay, n % 7
                self._later.append((n + self._random.randrange(-20, 3 * BATCH), key))
            if self._random.random() < 0.01:
                records += self._strange()
        return records

    def _strange(self) -> Records:
        """Return something malformed, and a prediction of 1970."""
        n = len(self.ancient)
        large = n % HOSTILE_LARGE_EVERY == 5
        self.ancient.add(f"ancient-{n}")
        ancient = encode({"id": f"ancient-{n}", "t": PAST_MS + n})
        return [
            self._spoilt(b"[" * 2 * self._large if large else self._random.choice(HOSTILE)),
            (self._tp(0), ancient, self._now()),
        ]

    def _spoilt(self, value: bytes) -> tuple[Tp, bytes, int]:
        self.hostile += 1
        at_ms = self._random.choice([PAST_MS, FUTURE_MS, self._now()])
        return self._tp(self._random.randrange(2)), value, at_ms

    def _ghost(self, n: int) -> tuple[Tp, bytes, int]:
        """Return what is never committed: a prediction of its own, or another label for an existing one."""
        if n % 2:
            return self._tp(0), encode({"id": f"ghost-{n}", "t": T}), self._now()
        key = f"id-{self._random.randrange(max(1, len(self.predictions)))}"
        return self._tp(1), encode({"id": key, "t": T, "label": 99}), self._now()

    def _told(self, count: int) -> Records:
        self._later.sort()
        due, self._later = self._later[:count], self._later[count:]
        records = []
        for _, key in due:
            t, label = self.outcomes[key]
            records += self._copies(1, encode({"id": key, "t": t, "label": label}))
        return records

    def _copies(self, topic: int, value: bytes) -> Records:
        copies = 2 if self._random.random() < 0.05 else 1
        return [(self._tp(topic), value, self._now()) for _ in range(copies)]

    def _tp(self, topic: int) -> Tp:
        return Tp(self._topics[topic], self._random.randrange(self.partitions[topic]))

    @staticmethod
    def _now() -> int:
        return int(time.time() * 1_000)
