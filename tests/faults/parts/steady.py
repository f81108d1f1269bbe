"""A steady load: so many predictions and outcomes a second, as pure functions of their number.

Owns the pace. Keeps nothing of what it has published, so that its own memory stays flat.
"""

import threading
import time
import zlib
from collections.abc import Callable
from typing import Any

from streams.errors import BrokerUnreachable
from streams.events import encode
from streams.kafka import Sink, Tp

TICK_S = 0.1
BEHIND = 500  # predictions between a prediction and its outcome
LABELS = 2
EVENTS_OF_3 = 5  # three predictions have two outcomes


class Steady:
    """Publishes so many events a second, which follow from the number of `predictions`; `x` makes their content.

    `patient`: what a broker has not acknowledged is published again, perhaps twice.
    """

    def __init__(
        self, bootstrap: str, topics: tuple[str, str], partitions: int, rate: float, x: Callable[[int], Any] = int,
        *, patient: bool = False,
    ) -> None:  # fmt: skip
        self._bootstrap, self._topics, self._partitions, self._x = bootstrap, topics, partitions, x
        self._patient, self._rate = patient, rate * 3 / EVENTS_OF_3
        self._began_ms, self.predictions = int(time.time() * 1_000), 0
        self._sink: Sink | None = Sink(bootstrap)
        self._stop = threading.Event()
        self._failed: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Publish the outcomes that are left, and end."""
        self._stop.set()
        self._thread.join()
        self.check()

    def check(self) -> None:
        """Raise what has ended it before its time, if anything has."""
        if self._failed:
            raise self._failed

    def leave(self) -> None:
        """Stop without publishing more."""
        self._stop.set()

    def _run(self) -> None:
        try:
            began = time.monotonic()
            while not self._stop.wait(TICK_S):
                due = int((time.monotonic() - began) * self._rate)
                self._publish(range(self.predictions, due), range(self.predictions - BEHIND, due - BEHIND))
                self.predictions = due
            self._publish(range(0), range(self.predictions - BEHIND, self.predictions))
        except BaseException as wrong:
            self._failed = wrong
            raise
        finally:
            self._close()

    def _publish(self, predictions: range, outcomes: range) -> None:
        while True:
            try:
                self._sink = self._sink or Sink(self._bootstrap)
                return self._send_all(self._sink, predictions, outcomes)
            except BrokerUnreachable:
                if not self._patient:
                    raise
                self._close()

    def _close(self) -> None:
        if self._sink:
            self._sink.close()
        self._sink = None

    def _send_all(self, sink: Sink, predictions: range, outcomes: range) -> None:
        for n in predictions:
            self._send(sink, 0, n, self._t(n), {"x": self._x(n)})
        for n in outcomes:
            if n >= 0 and has_outcome(n):
                self._send(sink, 1, n, self._t(n) + 1, {"label": label_of(n)})
        sink.flush()

    def _t(self, n: int) -> int:
        return self._began_ms + int(n * 1_000 / self._rate)

    def _send(self, sink: Sink, topic: int, n: int, t: int, more: dict[str, Any]) -> None:
        key = b"%d" % n
        tp = Tp(self._topics[topic], zlib.crc32(key) % self._partitions)
        sink.send(tp, key=key, value=encode({"id": str(n), "t": t, **more}), t_ms=t)


def has_outcome(n: int) -> bool:
    """Return whether a prediction has an outcome: two of three have."""
    return n % 3 != 0


def label_of(n: int) -> int:
    """Return the label of a prediction's outcome."""
    return n % LABELS
