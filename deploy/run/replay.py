"""The replay: a recorded feed, published as fast as the loop keeps up, in the order of event time.

Owns the pace. Does not know what the events mean. The feed is cut into slices of event time, `lead_s` long. A slice's
outcomes are published when its requests have been answered, and the next slice when nothing of this one is outstanding:
all is served, joined, learned, committed, distilled, judged, promoted. Without an outcome there is nothing to wait for.
So no answer knows an outcome of its own future, a slow machine comes to the same figures as a fast one, and only the
order of arrival within a slice is left to chance.
"""

import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import groupby

from deploy.config import Replay as Settings
from deploy.monitor import Monitor
from deploy.pipeline import FeedEvent
from deploy.registry.kinds import ASKED, TOLD
from deploy.registry.notes import SliceNote
from deploy.run.stall import until
from streams.kafka import Sink, Tp
from streams.kafka.records import tp_name

REST_MS = 10.0  # what is joined without a sample says nothing


class Replay:
    """Publishes a feed's events in their order.

    `note` puts on the feed's board which slice is asked, and which is told, and so wakes who waits for either.
    `topics` has the names of the topics `requests` and `outcomes`, `partitions` the number of partitions by name.
    `published` counts events by topic, `ends` has their next offsets by topic and partition, `at_ms` is the event time
    reached.
    """

    def __init__(
        self,
        feed: Iterable[FeedEvent],
        topics: dict[str, str],
        partitions: Mapping[str, int],
        settings: Settings,
        sink: Sink,
        note: Callable[[dict[str, bytes]], None],
    ) -> None:
        self._slices = groupby(feed, key=lambda event: event.t_ms // max(1, int(settings.lead_s * 1000)))
        self._topics, self._partitions, self._sink, self._stall_s = topics, partitions, sink, settings.stall_s
        self.ends: dict[str, dict[str, int]] = {"requests": {}, "outcomes": {}}
        self.published = {"requests": 0, "outcomes": 0}
        self.at_ms = self._began_ms = self._slice = 0
        self._note = note

    def run(self, monitor: Monitor) -> Iterator[bool]:
        """Publish slice by slice; yield False while waiting, so that the caller can look around, True after each slice.

        Raises:
            Stalled: nothing moves any more, and a slice is not finished.
        """
        for _, group in self._slices:
            events = list(group)
            self.at_ms, self._began_ms = events[-1].t_ms, self._began_ms or events[0].t_ms
            self._slice += 1
            published = self._publish(events, "requests")
            yield from self._say(ASKED.entry(SliceNote(self._slice, self.ends["requests"])), monitor)
            if published:
                yield from self._wait(monitor, lambda: monitor.answered(self.ends["requests"]))
            published = self._publish(events, "outcomes")
            yield from self._say(TOLD.entry(SliceNote(self._slice, self.ends["outcomes"])), monitor)
            if published:
                yield from self._wait(monitor, lambda: monitor.settled(self.ends["outcomes"]))
            yield True

    def share(self, ends_ms: int | None) -> float | None:
        """Return the share of the feed's time that is published; None where its end is not known."""
        if ends_ms is None or not self._began_ms:
            return None
        return min(1.0, (self.at_ms - self._began_ms) / max(1, ends_ms - self._began_ms))

    def _publish(self, events: list[FeedEvent], topic: str) -> bool:
        chosen = [event for event in events if event.topic == topic]
        for event in chosen:
            tp = self._tp(self._topics[topic], event.key)
            self._sink.send(tp, key=event.key, value=event.value, t_ms=event.t_ms)
        for tp, end in self._sink.flush().items():
            self.ends[topic][tp_name(tp)] = end
        self.published[topic] += len(chosen)
        return bool(chosen)

    def _say(self, entry: dict[str, bytes], monitor: Monitor) -> Iterator[bool]:
        """Put a note on the board; yield False while the store does not answer."""

        def said() -> bool:
            self._note(entry)
            return True

        yield from self._wait(monitor, said)

    def _tp(self, topic: str, key: bytes) -> Tp:
        return Tp(topic, zlib.crc32(key) % self._partitions[topic])

    def _wait(self, monitor: Monitor, done: Callable[[], bool]) -> Iterator[bool]:
        for _ in until(
            done, monitor, f"the loop does not finish the slice at event time {self.at_ms} ms", self._stall_s
        ):
            monitor.rest(REST_MS)
            yield False
