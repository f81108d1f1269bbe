"""The server role: reads requests, answers each micro-batch by one champion, and writes predictions.

Owns that order: predictions are acknowledged by the broker before the requests' position is noted. Does not know how a
champion is made.
"""

import time
from typing import Any, NamedTuple

from msgspec import Raw

from compressors.answers import checked
from compressors.errors import Unsuited
from compressors.rows import Collated
from deploy.pipeline import Pipeline
from deploy.registry.kinds import LEARNER, SERVER
from deploy.registry.records import ServerNote
from deploy.serving.champion import Served
from streams.dead import DeadLetters, Letter, reason_of
from streams.errors import ConfigError, MalformedEvent, Skipped
from streams.events import Prediction, Record, Request, encode, why_no_time
from streams.join.store import Store
from streams.kafka import Polled, Sink, Source, Tp
from streams.kafka.records import tp_name

MOST_BYTES = 900_000  # of a request's features: brokers take records of up to 1 MB by default
COMMIT_EVERY_S = 1.0  # offsets may lag: a request that is served twice has the same id, and the join drops the second


class Answers(NamedTuple):
    """Where predictions go: the topic, how many partitions it has, and the sink."""

    topic: str
    partitions: int
    sink: Sink


class ServerRole:
    """Serves one feed's requests. A prediction goes to the partition with its request's number, modulo their count."""

    def __init__(
        self, pipeline: Pipeline, champion: Served, source: Source, to: Answers, dead: DeadLetters, store: Store,
        max_batch: int,
    ) -> None:  # fmt: skip
        self._pipeline, self._champion, self._source, self._to = pipeline, champion, source, to
        self._dead, self._store, self._max_batch = dead, store, max_batch
        self._encoder = pipeline.encoder()
        self._note = ServerNote({}, {}, champion.record.number, 0)
        self._committed_at = time.monotonic()

    def step(self, block_ms: int) -> bool:
        """Serve the requests that have come; return whether there were any."""
        polled = self._source.poll(block_ms, self._max_batch)
        swapped = self._champion.refresh()
        if not polled and not swapped:
            return False
        served = self._serve(polled) if polled else 0
        ends = {tp_name(tp): end for tp, end in self._to.sink.flush().items() if tp.topic == self._to.topic}
        requests = {tp_name(p.tp): p.end for p in polled}
        note = self._note
        self._note = ServerNote(
            note.requests | requests,
            note.predictions | ends,
            self._champion.record.number,
            note.served + served,
            self._champion.engines,
        )
        self._store.put(self._pipeline.name, SERVER.entry(self._note))
        if time.monotonic() - self._committed_at > COMMIT_EVERY_S:
            self._source.commit({p.tp: p.end for p in polled})
            self._committed_at = time.monotonic()
        return bool(polled)

    def _serve(self, polled: list[Polled]) -> int:
        asked: list[tuple[int, Request]] = []
        rows: list[Any] = []
        letters = [Letter(p.tp, start, end, reason, None) for p in polled for start, end, reason in p.rejected]
        for part in polled:
            for record in part.records:
                try:
                    request = _bounded(record, Request(*self._pipeline.request(record)))
                    rows.append(self._encoder.decode(request.features))
                except Skipped:
                    continue
                except Exception as wrong:  # noqa: BLE001 a user's reader may raise anything; the record is kept
                    letters.append(Letter(part.tp, record.offset, record.offset + 1, reason_of(wrong), record))
                else:
                    asked.append((part.tp.partition, request))
        if letters:
            self._dead.put(letters)
            self._dead.flush()
        if asked:
            self._answer(asked, rows)
        return len(asked)

    def _answer(self, asked: list[tuple[int, Request]], rows: list[Any]) -> None:
        outputs = self._outputs(rows)
        version, (learned, intercept) = self._champion.record.number, self._intercept()
        for (partition, request), output in zip(asked, outputs, strict=True):
            at, features = request.t_ms, Raw(request.features)
            prediction = Prediction(request.id, at, version, tuple(output), intercept, learned, features)
            tp = Tp(self._to.topic, partition % self._to.partitions)
            self._to.sink.send(tp, key=request.id.encode(), value=encode(prediction), t_ms=at)

    def _outputs(self, rows: list[Any]) -> list[list[float]]:
        """Return the champion's answers (N, K).

        Raises:
            ConfigError: the model returns something else.
        """
        try:
            made = self._champion.answer(Collated(rows, self._encoder.encode))
            return checked(made, len(rows), self._pipeline.task.outputs).tolist()
        except Unsuited as wrong:
            raise ConfigError(f"pipeline {self._pipeline.name!r}: {wrong}") from wrong

    def _intercept(self) -> tuple[int, tuple[float, ...]]:
        note = LEARNER.read(*self._store.get(self._pipeline.name, LEARNER.name))
        if note is None:
            return 0, (0.0,) * self._pipeline.task.outputs
        return note.learned, note.intercept


def _bounded(record: Record, request: Request) -> Request:
    """Return the request.

    Raises:
        MalformedEvent: its prediction would be larger than the records that a broker takes, or it has no time.
    """
    if len(request.features) > MOST_BYTES:
        raise MalformedEvent(f"features of {len(request.features):,} bytes; at most {MOST_BYTES:,} are served")
    if request.t_ms < 0:
        raise MalformedEvent(why_no_time(record, request.t_ms))
    return request
