"""Dead letters: what could not be read, kept with its reason, position and bytes.

Owns the letter's form. Does not know who reads it. Acknowledged by the broker before anyone counts them: a crash
between doubles a letter, never loses it.
"""

from collections.abc import Sequence

from streams.batch import Letter
from streams.kafka import Sink, Tp

LETTER_BYTES = 1 << 16  # of a refused record are kept


class DeadLetters:
    """Writes letters to partition 0 of a topic, keyed by "topic/partition/offset"."""

    def __init__(self, sink: Sink, topic: str) -> None:
        self._sink, self._tp = sink, Tp(topic, 0)

    def send(self, letters: Sequence[Letter]) -> None:
        """Write the letters and wait for the broker's word on each."""
        for tp, start, end, reason, record in letters:
            value = record.value if record else None
            place = {"topic": tp.topic, "partition": tp.partition, "offset": start, "end": end, "reason": reason}
            self._sink.send(
                self._tp,
                key=f"{tp.topic}/{tp.partition}/{start}".encode(),
                value=value and value[:LETTER_BYTES],
                t_ms=record.t_ms if record else 0,
                headers=[(header, str(what).encode(errors="replace")) for header, what in place.items()],
            )
        if letters:
            self._sink.flush()
