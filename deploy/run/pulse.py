"""The pulse of a run: how far server and joiners lag the log, how old the newest commit is, how each role is.

Owns the measuring, and writing it on the board once a second. Does not know where the log's ends come from.
"""

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress

from msgspec.structs import replace

from deploy.monitor import Progress
from deploy.registry.kinds import PULSE
from deploy.registry.pulse import PulseNote, RolePulse
from streams.errors import ShadowstreamError
from streams.join.store import Store
from streams.kafka import Tp
from streams.kafka.records import tp_name

WRITE_EVERY_S = 1.0


class Pulse:
    """One run's; it writes to the feed's board."""

    def __init__(self, feed: str, store: Store, requests: str, outcomes: str) -> None:
        self._feed, self._store, self._requests, self._outcomes = feed, store, requests, outcomes
        self._commit, self._changed_s = -1, 0.0
        self._written_s = 0.0

    def take(
        self, now: Progress | None, ends: Mapping[Tp, int], roles: Sequence[RolePulse], trouble: Sequence[str]
    ) -> PulseNote:
        """Return the pulse at this look, and write it down once a second; a store that does not answer is let be."""
        now_s = time.monotonic()
        server, learner = (now.server, now.learner) if now else (None, None)
        if learner and learner.commit != self._commit:
            self._commit, self._changed_s = learner.commit, now_s
        joined = {tp: at.next for shard in now.shards for tp, at in shard.partitions.items()} if now else {}
        note = PulseNote(
            roles=list(roles),
            requests_unread=_unread(self._requests, ends, server.requests if server else {}),
            outcomes_unread=_unread(self._outcomes, ends, joined),
            commit_s=round(now_s - self._changed_s, 1) if learner else None,
            trouble=tuple(trouble),
        )
        if now_s - self._written_s >= WRITE_EVERY_S:
            self._written_s = now_s
            with suppress(ShadowstreamError):  # who needs the store says so
                self._store.put(self._feed, PULSE.entry(replace(note, at_ms=self._store.now_ms())))
        return note


def _unread(topic: str, ends: Mapping[Tp, int], read: Mapping[str, int]) -> int | None:
    """Return how many offsets of a topic are not read yet; None where its ends are not known."""
    of = {tp_name(tp): end for tp, end in ends.items() if tp.topic == topic}
    return sum(max(0, end - read.get(name, 0)) for name, end in of.items()) if of else None
