"""From requests to predictions: a version, the live experts and the task's words, a micro-batch at a time.

Owns what a prediction holds, how large it may be, and that one request which cannot be answered holds back no other.
Does not know Kafka, or what becomes of one that is refused.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple, TypeVar

import torch
from msgspec import Raw
from torch import Tensor

from compressors.answers import checked
from compressors.errors import Unsuited
from compressors.rows import Collated
from deploy.loading import users_code
from deploy.pipeline import Pipeline
from deploy.serving.champion import Served, Version
from deploy.serving.live import Followed
from learners.packing import shortest
from learners.tasks.task import Answering, Task
from streams.errors import ConfigError, MalformedEvent
from streams.events import Prediction, Record, Request, answered, encode
from streams.join.fits import FRAME_BYTES, ID_BYTES, ID_COST

NUMBER_BYTES = 25  # of an output, an intercept or a live expert's answer in a prediction; experts whose answers fit
EXPERTS = 24
T = TypeVar("T")
R = TypeVar("R")


class Asked(NamedTuple):
    """A request, its features decoded, and what another system answered (K,), of length 0 without one."""

    record: Record
    request: Request
    row: Any
    theirs: tuple[float, ...]


class Answerer:
    """Answers by a champion and the live experts; a prediction may have `limit_bytes`, its record's frame included."""

    def __init__(self, pipeline: Pipeline, champion: Served, live: Followed, limit_bytes: int) -> None:
        self._pipeline, self._champion, self._live, self._limit_bytes = pipeline, champion, live, limit_bytes
        self._encoder = pipeline.encoder()

    def answer(self, asked: Sequence[Asked]) -> Iterator[tuple[Asked, bytes | Exception]]:
        """Yield each request with its prediction's JSON, or with why it has none.

        What a canary cannot answer, the champion does.
        """
        champion, canary = self._champion.champion, self._champion.canary
        rest, theirs = list(asked), list[Asked]()
        if canary:
            rest = []
            for one in asked:
                (theirs if self._champion.of(one.request.id) is canary else rest).append(one)
            for one, made in bisected(theirs, partial(self._predictions, canary)):
                if isinstance(made, Exception):
                    rest.append(one)
                else:
                    yield one, made
        yield from bisected(rest, partial(self._predictions, champion))

    def _predictions(self, version: Version, asked: Sequence[Asked]) -> list[bytes]:
        """Return the predictions' JSON.

        Raises:
            ConfigError: `encode`, the model or the task refuses a request, or the model returns something else.
            MalformedEvent: an answer is not finite, or a prediction is too large.
        """
        rows = [one.row for one in asked]
        with users_code("answering"):
            outputs, number = self._outputs(version, rows, asked), version.record.number
            if not bool(torch.isfinite(outputs).all()):
                raise MalformedEvent(f"v{number} answers a number that is not finite")
            answer = self._live.answer(rows, outputs)
            meanings = self._meanings(answer.of(outputs))
        said = zip(shortest(outputs), answer.experts, answer.served, strict=True)
        made = []
        for (_, request, _, theirs), (output, experts, served), meaning in zip(asked, said, meanings, strict=True):
            numbers = (number, tuple(output), answer.intercept, answer.learned)
            prediction = Prediction(request.id, request.t_ms, *numbers, Raw(request.features), experts, served, theirs)
            value = answered(prediction, meaning)
            if len(value) + ID_BYTES + FRAME_BYTES > self._limit_bytes:
                raise MalformedEvent(f"the prediction has {len(value):,} bytes; its topic takes {self._limit_bytes:,}")
            made.append(value)
        return made

    def _outputs(self, version: Version, rows: list[Any], asked: Sequence[Asked]) -> Tensor:
        """Return a version's answers (N, K) to requests, of which `rows` are today's.

        Raises:
            ConfigError: the model returns something else.
            MalformedEvent: the version is of an earlier pipeline, which cannot read a request.
        """
        encoder, sizes = version.encoder or self._encoder, [len(one.request.features) for one in asked]
        if encoder is not self._encoder:
            rows = [encoder.decode(one.request.features) for one in asked]
        try:
            made = version.answer(Collated(rows, encoder.encode, sizes=sizes))
            return checked(made, len(rows), self._pipeline.task.outputs)
        except Unsuited as wrong:
            raise ConfigError(f"pipeline {self._pipeline.name!r}: {wrong}") from wrong

    def _meanings(self, served: Tensor) -> Sequence[Mapping[str, Any]]:
        """Return what the answers (N, K) mean in the task's words."""
        task = self._pipeline.task
        return task.answers(served) if isinstance(task, Answering) else [{}] * len(served)


def bisected(items: Sequence[T], do: Callable[[Sequence[T]], Sequence[R]]) -> Iterator[tuple[T, R | Exception]]:
    """Yield each item with what `do` makes of it, or with what it raises for that item alone.

    Where it raises for several, each half is tried: one bad item among N costs about 2 log N calls more.

    >>> [type(made).__name__ for _, made in bisected([1, 0, 4], lambda numbers: [1 / n for n in numbers])]
    ['float', 'ZeroDivisionError', 'float']
    """
    if not items:
        return
    try:
        made = do(items)
    except Exception as wrong:  # noqa: BLE001 a user's code may raise anything; each request that fails is kept
        if len(items) == 1:
            yield items[0], wrong
            return
        middle = len(items) // 2
        yield from bisected(items[:middle], do)
        yield from bisected(items[middle:], do)
    else:
        yield from zip(items, made, strict=True)


def most_bytes(topic: str, limit: int, task: Task, columns: int = 0) -> int:
    """Return how large a request's features and id may be for its prediction to fit into a record of the topic.

    The topic takes records of `limit` bytes; live experts say `columns` numbers a row.

    Raises:
        ConfigError: not even the numbers of a prediction fit.
    """
    names = len(encode(getattr(task, "classes", None)))
    said = max(EXPERTS, columns) + 5 * task.outputs  # by experts, version, all and another system; intercept; meaning
    most = limit - FRAME_BYTES - NUMBER_BYTES * said - names
    if most < ID_COST * ID_BYTES:
        raise ConfigError(
            f"a prediction of {task.outputs} outputs does not fit into a record of topic {topic!r}, which has "
            f"{limit} bytes at most; raise the topic's max.message.bytes and kafka.max_request_bytes"
        )
    return most
