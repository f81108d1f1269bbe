"""What a reader of a user's own returned or raised, in words that name it where that is no event.

Owns what a Request, an Event and an Outcome must be made of. Does not know who calls a reader.
"""

import inspect
import math
import traceback
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NoReturn

from streams.errors import MalformedEvent
from streams.events import Event, Label, Outcome, Request, Target, encode, new_event
from streams.readers import Json
from streams.texts import SHOWN

EVENT = "Event(id, t_ms, body)"
REQUEST = "Request(id, t_ms, features)"
OUTCOME = "Outcome(id, t=…, label=…), or what fields() makes"
LABEL = "a number that a float can be, text, a list or a dict"
_label: Json[Any] = Json(Label | bool | None)


def why(reader: Callable[..., Any], read: object, wrong: BaseException) -> str:
    """Return why a record became no event: what is wrong with what its reader returned, or else what was raised."""
    fault = event_fault(reader, read)
    return fault or (str(wrong) if isinstance(wrong, MalformedEvent) else f"{type(wrong).__name__}: {wrong}")


def raised(reader: Callable[..., Any], wrong: BaseException) -> str:
    """Return why a reader refused a record: the text of its MalformedEvent, or what else it raised, and where."""
    if isinstance(wrong, MalformedEvent):
        return str(wrong)
    code = getattr(inspect.unwrap(reader), "__code__", None)
    file: str = code.co_filename if code else ""
    lines = [line for frame, line in traceback.walk_tb(wrong.__traceback__) if frame.f_code.co_filename == file]
    where = f" ({Path(file).name}:{lines[-1]})" if lines else ""
    return f"{name_of(reader)} raised {type(wrong).__name__}: {wrong}{where}"


def event_fault(reader: Callable[..., Any], read: object, wanted: str = EVENT, body: str = "body") -> str:
    """Return what is wrong with the parts of an event; nothing where they are of the right types."""
    name = name_of(reader)
    if not isinstance(read, tuple | list) or len(read) != 3:
        return f"{name} returned {_shown(read)}; it must return {wanted}"
    id_, _, content = read
    if not isinstance(id_, str):
        return f"{name} returned as the id {_shown(id_)}; it must be text"
    if not isinstance(content, bytes | bytearray):
        how = "TEXT.encode()" if isinstance(content, str) else "json.dumps(VALUE).encode()"
        return f"{name} returned as the {body} {_shown(content)}; it must be the bytes of one JSON value, as {how}"
    for what, text in (("id", id_.encode(errors="surrogatepass")), (body, bytes(content))):
        try:
            text.decode()
        except UnicodeDecodeError:
            return f"{name} returned as the {what} {_shown(text)}, which is not UTF-8"
    return ""


def as_request(reader: Callable[..., Any], read: Any) -> Request:
    """Return what a pipeline's reader of requests made, also where `fields` made that reader.

    Raises:
        MalformedEvent: it is no request.
    """
    if fault := event_fault(reader, read, REQUEST, "features"):
        raise MalformedEvent(fault)
    return Request(*read)


def as_outcome(read: Any, reader: Callable[..., Any]) -> Outcome:
    """Return what a pipeline's reader of outcomes made, also where `fields` made that reader.

    Raises:
        MalformedEvent: it is no outcome, or its label is null or no JSON.
    """
    if isinstance(read, Outcome):
        return read if type(read.label) is float and type(read.id) is str else _plain(reader, read)
    if fault := event_fault(reader, read, OUTCOME, "label"):
        raise MalformedEvent(fault)
    id_, t_ms, body = read
    return _plain(reader, Outcome(id_, t_ms, _label(body)))


def as_label(value: Any) -> Label | None:
    """Return a label as JSON has it, of whichever library its numbers are; None where it is none.

    >>> as_label(True), as_label("dog"), as_label(None)
    (1.0, 'dog', None)
    """
    value = value.tolist() if hasattr(value, "tolist") else value  # numpy's, torch's
    if isinstance(value, str | list | dict):
        return value
    try:
        return float(value) if hasattr(value, "__float__") else None
    except (TypeError, ValueError, OverflowError):
        return None


def labelled(outcome: Outcome, target: Target) -> Event:
    """Return a pipeline's outcome as an event of the join, with what the task made of its label.

    Raises:
        MalformedEvent: a number of it is not finite.
    """
    if not all(map(math.isfinite, target if isinstance(target, tuple) else (target,))):
        raise MalformedEvent(f"the label is not finite: {_shown(outcome.label)}")
    return new_event((outcome.id, outcome.t, encode(target)))


def name_of(reader: Callable[..., Any]) -> str:
    """Return what a message calls a reader.

    >>> name_of(as_outcome), name_of(lambda record: None)
    ('as_outcome', 'the reader')
    """
    while isinstance(reader, partial):
        reader = reader.func
    name = getattr(inspect.unwrap(reader), "__name__", "")
    return name if name.isidentifier() else "the reader"


def _plain(reader: Callable[..., Any], outcome: Outcome) -> Outcome:
    """Return an outcome with its label as JSON has it."""
    id_: Any = outcome.id
    if not isinstance(id_, str):
        _refuse(reader, f"as the id {_shown(id_)}; it must be text")
    label = as_label(outcome.label)
    if label is None:
        _refuse(reader, f"as the label {_shown(outcome.label)}; it must be {LABEL}")
    return Outcome(id_, outcome.t, label)


def _refuse(reader: Callable[..., Any], what: str) -> NoReturn:
    raise MalformedEvent(f"{name_of(reader)} returned {what}")


def _shown(value: Any) -> str:
    """Return a value for a message: None, "an int 7", "a dict"."""
    if value is None:
        return "None"
    kind = type(value)
    text = repr(value) if kind in SHORT or (kind is int and value.bit_length() < MOST_BITS) else ""
    return f"{'an' if kind.__name__[0] in VOWELS else 'a'} {kind.__name__} {text[:SHOWN]}".rstrip()


SHORT = (bool, float, str, bytes)
VOWELS = "AEIOUaeiou"
MOST_BITS = 1_000  # of a whole number that is shown
