"""What another system answered to a request that we only answer in its shadow.

Owns where a record has that answer. Does not know what is made of it.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import msgspec

from deploy.pipeline import Pipeline
from learners.tasks.theirs import output_of
from streams.errors import MalformedEvent
from streams.events import Record, Request
from streams.formats.parts import field_of
from streams.returned import raised


def reader(pipeline: Pipeline) -> Callable[[Record, Request], tuple[float, ...]]:
    """Return what makes the K raw outputs of their answer; of length 0 where the pipeline is nobody's shadow.

    It raises MalformedEvent where a record has no such answer.
    """
    if pipeline.theirs is None:
        return lambda record, request: ()
    if isinstance(pipeline.theirs, str):
        return partial(_field, pipeline, pipeline.theirs, field_of(pipeline.theirs))
    return partial(_function, pipeline, pipeline.theirs)


def _field(
    pipeline: Pipeline, name: str, pick: Callable[[Any], Any], record: Record, request: Request
) -> tuple[float, ...]:
    found = pick(msgspec.json.decode(request.features))
    if found is None:
        raise MalformedEvent(f"field {name!r} must be what was answered (Pipeline.theirs); found nothing")
    return _output(pipeline, f"field {name!r}", found)


def _function(
    pipeline: Pipeline, theirs: Callable[[Record], Any], record: Record, request: Request
) -> tuple[float, ...]:
    try:
        found = theirs(record)
    except Exception as wrong:  # a user's function may raise anything; the record is kept
        raise MalformedEvent(raised(theirs, wrong)) from wrong
    return _output(pipeline, "Pipeline.theirs", found.tolist() if hasattr(found, "tolist") else found)


def _output(pipeline: Pipeline, where: str, answer: Any) -> tuple[float, ...]:
    try:
        return output_of(pipeline.task, answer)
    except MalformedEvent as wrong:
        raise MalformedEvent(f"{where}: {wrong}") from None
