"""Which requests were answered, and how long none was: a reader of the predictions beside a fault run."""

import threading
import time
from collections import Counter
from contextlib import closing, suppress

import msgspec

from streams.errors import ShadowstreamError
from streams.events import Prediction
from streams.kafka import Source, Tp

ANEW_S = 1.0  # without a record the reader connects anew: left to itself, it would wait ever longer for a broker


class Answers:
    """A thread that reads predictions: which requests were answered, and how long none was."""

    def __init__(self, broker: str, topic: str) -> None:
        self._broker, self._tp, self.answered = broker, Tp(topic, 0), Counter[str]()
        self.at_s, self.gap_s = time.monotonic(), 0.0  # the last new answer; the longest pause since `mark`
        self._marked_s, self._stop = self.at_s, threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def mark(self) -> float:
        """Return the longest pause between answers since the last call, the one that lasts included."""
        gap_s = max(self.gap_s, time.monotonic() - max(self.at_s, self._marked_s))
        self.gap_s, self._marked_s = 0.0, time.monotonic()
        return gap_s

    def stop(self) -> None:
        """End the thread."""
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        decode, position = msgspec.json.Decoder(Prediction).decode, 0
        while not self._stop.is_set():
            with suppress(ShadowstreamError), closing(Source(self._broker, [self._tp])) as source:
                source.seek(self._tp, position)
                heard_s = time.monotonic()
                while not self._stop.is_set() and time.monotonic() - heard_s < ANEW_S:
                    for polled in source.poll(100, 10_000):
                        position, heard_s = polled.end, time.monotonic()
                        self._take([decode(record.value or b"").id for record in polled.records])

    def _take(self, ids: list[str]) -> None:
        if any(one not in self.answered for one in ids):
            now_s = time.monotonic()
            self.gap_s = max(self.gap_s, now_s - max(self.at_s, self._marked_s))
            self.at_s = now_s
        self.answered.update(ids)
