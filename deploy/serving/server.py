"""The server role: reads requests, answers each micro-batch by one champion, and writes predictions.

Owns that order: predictions are acknowledged by the broker before the requests' position is noted. Does not know how a
champion is made.
"""

import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from msgspec import Raw
from torch import Tensor

from compressors.answers import checked
from compressors.errors import Unsuited
from compressors.rows import Collated
from deploy.pipeline import Pipeline
from deploy.registry.kinds import SERVER
from deploy.registry.records import ServerNote
from deploy.serving import theirs
from deploy.serving.champion import Served
from deploy.serving.live import Followed
from learners.tasks.task import Answering, Task
from streams.dead import DeadLetters, Letter, reason_of
from streams.errors import ConfigError, MalformedEvent, Skipped
from streams.events import Prediction, Record, Request, answered, encode
from streams.join.fits import FRAME_BYTES, ID_BYTES, ID_COST, id_fault
from streams.join.store import Store
from streams.kafka import Polled, Sink, Source, Tp
from streams.kafka.records import tp_name
from streams.readers import why_no_time
from streams.returned import as_request, raised

NUMBER_BYTES = 25  # of an output, an intercept or a live expert's answer in a prediction; experts whose answers fit
EXPERTS = 24
HOLD_S = 1.0  # how long the positions of refused requests may wait for the letter that sums them up
COMMIT_EVERY_S = 1.0  # offsets may lag: a request that is served twice has the same id, and the join drops the second


class Answers(NamedTuple):
    """Where predictions go: the topic, how many partitions it has, and the sink."""

    topic: str
    partitions: int
    sink: Sink


class Asked(NamedTuple):
    """A request, the number of its partition, and what another system answered (K,), of length 0 without one."""

    partition: int
    request: Request
    theirs: tuple[float, ...]


class ServerRole:
    """Serves one feed's requests. A prediction goes to the partition with its request's number, modulo their count."""

    def __init__(
        self, pipeline: Pipeline, champion: Served, source: Source, to: Answers, dead: DeadLetters, store: Store,
        max_batch: int,
    ) -> None:  # fmt: skip
        self._pipeline, self._champion, self._source, self._to = pipeline, champion, source, to
        self._dead, self._store, self._max_batch = dead, store, max_batch
        self._encoder, self._live = pipeline.encoder(), Followed(pipeline, store)
        self._theirs = theirs.reader(pipeline)
        self._note = ServerNote({}, {}, champion.record.number, 0)
        self._committed_at = time.monotonic()
        self._held: dict[Tp, str] = {}
        self._ends: dict[Tp, int] = {}
        self._most_bytes = _most_bytes(to, pipeline.task, self._live.columns)

    def step(self, block_ms: int) -> bool:
        """Serve the requests that have come; return whether there were any."""
        polled = self._source.poll(block_ms, self._max_batch)
        swapped = self._champion.refresh()
        if not (polled or swapped or self._held):
            return False
        served = self._serve(polled)
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
        self._ends |= {p.tp: p.end for p in polled}
        if not self._held:
            self._remember()
        return bool(polled)

    def _remember(self) -> None:
        """Note what was served, and commit the requests' positions: every one is answered or has a letter."""
        self._store.put(self._pipeline.name, SERVER.entry(self._note))
        if self._ends and time.monotonic() - self._committed_at > COMMIT_EVERY_S:
            self._source.commit(self._ends)
            self._ends = {}
            self._committed_at = time.monotonic()

    def _serve(self, polled: list[Polled]) -> int:
        asked: list[Asked] = []
        rows: list[Any] = []
        letters = {p.tp: [Letter(p.tp, start, end, reason, None) for start, end, reason in p.rejected] for p in polled}
        for part in polled:
            for record in part.records:
                read: object = None
                try:
                    read = self._pipeline.request(record)
                    request = _bounded(record, as_request(self._pipeline.request, read), self._most_bytes)
                    row, their = self._encoder.decode(request.features), self._theirs(record, request)
                except Skipped:
                    continue
                except (Exception, SystemExit) as wrong:  # noqa: BLE001 a user's reader may raise anything; the record is kept
                    reason = reason_of(wrong) if read else raised(self._pipeline.request, wrong)
                    letter = Letter(part.tp, record.offset, record.offset + 1, reason, record)
                    letters[part.tp].append(letter)
                else:
                    rows.append(row)
                    asked.append(Asked(part.tp.partition, request, their))
        self._write(letters)
        if asked:
            self._answer(asked, rows)
        return len(asked)

    def _write(self, letters: dict[Tp, list[Letter]]) -> None:
        """Have letters acknowledged, as far as their limit goes; the rest is held, with the positions after it."""
        for tp in letters.keys() | self._held.keys():
            held = self._dead.limited(tp, letters.get(tp, []), self._held.pop(tp, ""), HOLD_S)
            if held:
                self._held[tp] = held
        if self._dead.queued:
            self._dead.flush()

    def _answer(self, asked: list[Asked], rows: list[Any]) -> None:
        outputs = self._outputs(rows, [len(one.request.features) for one in asked])
        self._live.refresh()
        answer, version = self._live.answer(rows, outputs), self._champion.record.number
        meanings = self._meanings(answer.of(outputs))
        said = zip(outputs.tolist(), answer.experts, answer.served, strict=True)
        for (partition, request, their), (output, experts, served), meaning in zip(asked, said, meanings, strict=True):
            at, features = request.t_ms, Raw(request.features)
            prediction = Prediction(
                request.id,
                at,
                version,
                tuple(output),
                answer.intercept,
                answer.learned,
                features,
                experts,
                served,
                their,
            )
            tp = Tp(self._to.topic, partition % self._to.partitions)
            self._to.sink.send(tp, key=request.id.encode(), value=answered(prediction, meaning), t_ms=at)

    def _meanings(self, served: Tensor) -> Sequence[Mapping[str, Any]]:
        """Return what the answers (N, K) mean in the task's words."""
        task = self._pipeline.task
        return task.answers(served) if isinstance(task, Answering) else [{}] * len(served)

    def _outputs(self, rows: list[Any], sizes: list[int]) -> Tensor:
        """Return the champion's answers (N, K) to rows of these sizes.

        Raises:
            ConfigError: the model returns something else.
        """
        try:
            made = self._champion.answer(Collated(rows, self._encoder.encode, sizes=sizes))
            return checked(made, len(rows), self._pipeline.task.outputs)
        except Unsuited as wrong:
            raise ConfigError(f"pipeline {self._pipeline.name!r}: {wrong}") from wrong


def _most_bytes(to: Answers, task: Task, columns: int = 0) -> int:
    """Return how large a request's features and id may be for its prediction to fit into a record of the topic.

    Raises:
        ConfigError: not even the numbers of a prediction fit.
    """
    limit, names = to.sink.limit_bytes(to.topic), len(encode(getattr(task, "classes", None)))
    numbers = NUMBER_BYTES * (
        max(EXPERTS, columns) + 5 * task.outputs
    )  # what experts, version, all and others say, intercept, and meaning
    most = limit - FRAME_BYTES - numbers - names
    if most < ID_COST * ID_BYTES:
        raise ConfigError(
            f"a prediction of {task.outputs} outputs does not fit into a record of topic {to.topic!r}, which has "
            f"{limit} bytes at most; raise the topic's max.message.bytes and kafka.max_request_bytes"
        )
    return most


def _bounded(record: Record, request: Request, most_bytes: int) -> Request:
    """Return the request.

    Raises:
        MalformedEvent: its id or its features are larger than the join, or a record of its prediction, takes, or it has
            no time.
    """
    if not 0 < (length := len(request.id.encode())) <= ID_BYTES:
        raise MalformedEvent(id_fault(length))
    if (size := len(request.features)) + ID_COST * length > most_bytes:
        raise MalformedEvent(f"features of {size:,} bytes; at most {most_bytes - ID_COST * length:,} are served")
    if request.t_ms < 0:
        raise MalformedEvent(why_no_time(record, request.t_ms))
    return request
