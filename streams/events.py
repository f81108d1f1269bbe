"""The events and their JSON: a user's records, predictions, and the samples that the join emits.

Owns names, types and bytes. Does not know Kafka, Redis or models.
Times are event times in whole milliseconds since 1970, UTC. `features` stays raw JSON everywhere: only the pipeline
that owns the model decodes it.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any, NamedTuple, TypeAlias

import msgspec
from msgspec import Raw, Struct

Label: TypeAlias = float | str | list[Any] | dict[str, Any]  # an outcome's, as JSON has it
Target: TypeAlias = float | tuple[float, ...]  # what a task makes of it: one number, or several

NEGATIVE, CORRECTION = "negative", "correction"  # kinds of samples
WAITING = "waiting"  # the kind of a sample that is a mark


class Record(NamedTuple):
    """One Kafka record, as a reader gets it.

    `timestamp_ms` is the record's own timestamp; `t_ms` is the event time: the header `t` (digits, or ISO 8601 with an
    offset) where there is one, else the timestamp. Both are milliseconds since 1970, UTC. Where the header is no time,
    `t_ms` is negative, and the record is refused if its reader takes that.

    >>> record = Record("ads.requests", 0, 7, 1700000000000, 1700000000000, b"a1", b'{"x": 2}')
    >>> record.key, record.offset, record.headers
    (b'a1', 7, ())
    """

    topic: str
    partition: int
    offset: int
    timestamp_ms: int
    t_ms: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()


class Event(NamedTuple):
    """What a feed's reader makes of a record: the id that prediction and outcome share, the time, and the content.

    `t_ms` is the event time in milliseconds since 1970, UTC. `body` goes into the sample as it is, one JSON value in
    UTF-8: a prediction's whole content, or an outcome's label.

    >>> Event("a1", 1700000000000, b'{"score": 0.25}').body
    b'{"score": 0.25}'
    """

    id: str
    t_ms: int
    body: bytes


class Request(NamedTuple):
    """What a pipeline's reader makes of a request record.

    `t_ms` is the event time in milliseconds since 1970, UTC; `features` is the JSON text of the pipeline's feature
    type.

    >>> Request("a1", 1700000000000, b'{"x": 2}').id
    'a1'
    """

    id: str
    t_ms: int
    features: bytes


class Outcome(Struct, frozen=True, gc=False):
    """What a pipeline's reader makes of an outcome record.

    `t` is the outcome's event time in milliseconds since 1970, UTC. `label` is what the pipeline's task takes: 0 or 1,
    a class's name or index, a number, or any JSON that a task of yours reads.

    >>> Outcome("a1", t=1700000060000, label=1.0)
    Outcome(id='a1', t=1700000060000, label=1.0)
    """

    id: str
    t: int
    label: Label


class Prediction(Struct, frozen=True, gc=False, omit_defaults=True):
    """The event that the server writes for each request.

    `t` is the request's time. `output` is the artifact's raw output (logits; for regression the value) of length K,
    before the live `intercept` (length K) was added; `learned` is how many samples the learner had learned when it sent
    that intercept; `version` is the champion's. Where live experts answer too, `experts` has what each of them said, in
    the order of their names, null for nothing, and `answer` (length K) is that of all; both as the learner recorded in
    `learned` made them. In the shadow of another system `theirs` is what that one answered, as such outputs.
    """

    id: str
    t: int
    version: int
    output: tuple[float, ...]
    intercept: tuple[float, ...]
    learned: int
    features: Raw
    experts: tuple[float | None, ...] = ()
    answer: tuple[float, ...] = ()
    theirs: tuple[float, ...] = ()

    @property
    def served(self) -> tuple[float, ...]:
        """What was answered, of length K."""
        return self.answer or self.bare

    @property
    def bare(self) -> tuple[float, ...]:
        """What the version answered by itself, of length K: output plus intercept."""
        return tuple(o + b for o, b in zip(self.output, self.intercept, strict=True))


def answered(prediction: Prediction, meaning: Mapping[str, Any]) -> bytes:
    """Return the JSON of a prediction with what its answer means to a client, which the learner does not read."""
    body = encode(prediction)
    return body[:-1] + b"," + encode(meaning)[1:] if meaning else body


class Sample(Struct, frozen=True, gc=False):
    """What the join emits, once for each id and revision.

    `kind` is "joined" (an outcome came), "negative" (the window closed without one; revision 0, provisional) or
    "correction" (an outcome came after a negative; revision 1). `t` is the prediction's time; `label` is what the task
    made of the outcome's; `label_t` is the time of the outcome that settled it, or the window's end.

    A *mark* has the kind WAITING: at `label_t` the prediction had no outcome. It has reached an age, whose number is
    `revision`; its label 0 means nothing. An id's marks come before its other samples.
    """

    id: str
    kind: str
    revision: int
    t: int
    label: Target
    label_t: int
    prediction: Prediction


WAITING = "waiting"
new_event: Callable[[tuple[str, int, bytes]], Event] = partial(tuple.__new__, Event)  # half the time of Event(...)
encode: Callable[[Any], bytes] = msgspec.json.Encoder().encode
