"""What a format makes of a record's value, and the formats that need no schema: JSON and MessagePack.

Owns which values are accepted: an object, whose text is one JSON document in UTF-8 that any parser reads. Does not know
which of its fields matter. All of the text is parsed, because a sample embeds it in a larger document as it is.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import msgspec

from streams.errors import MalformedEvent

MOST_NESTED = 128  # levels; a sample nests it deeper, and the limits of JSON parsers start at 500
TOO_DEEP = f"nested deeper than {MOST_NESTED} levels"
OPENINGS = b"[" * MOST_NESTED
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
encode: Callable[[Any], bytes] = msgspec.json.Encoder().encode
Fields = dict[str, Any]


class Format(NamedTuple):
    """How a value is read: `decode` returns its fields, and `text` the value's JSON, from the value and its fields.

    Both raise `MalformedEvent`, and `Unreachable` where a schema registry does not answer.
    """

    decode: Callable[[bytes], Fields]
    text: Callable[[bytes, Fields], bytes]


def as_json(_: bytes, fields: Fields) -> bytes:
    """Return the JSON text of a value that was not JSON; a number that is not finite becomes null.

    Raises:
        MalformedEvent: JSON has no form for a value.
    """
    try:
        return encode(fields)
    except (TypeError, ValueError, RecursionError) as wrong:
        raise MalformedEvent(f"the event has no JSON form: {wrong}") from None


def plain(value: Any, levels: int = MOST_NESTED) -> Any:
    """Return a decoded value in types that have a JSON form: a time becomes ms since 1970.

    Raises:
        MalformedEvent: it is nested too deeply.
    """
    if isinstance(value, Mapping):
        _level(levels)
        return {key: plain(item, levels - 1) for key, item in value.items()}
    if isinstance(value, Sequence) and not isinstance(value, str | bytes):
        _level(levels)
        return [plain(item, levels - 1) for item in value]
    if isinstance(value, datetime):
        return epoch_ms(value)
    return value


def epoch_ms(time: datetime) -> int:
    """Return a time in ms since 1970, UTC; a time without an offset counts as UTC."""
    return ((time if time.tzinfo else time.replace(tzinfo=UTC)) - EPOCH) // timedelta(milliseconds=1)


def _level(levels: int) -> None:
    if not levels:
        raise MalformedEvent(TOO_DEEP)


def _deep(value: Any) -> bool:
    """Return whether a decoded object is nested too deeply."""
    level = [value]
    for _ in range(MOST_NESTED):
        level = [
            item
            for container in level
            for item in (container.values() if type(container) is dict else container)
            if type(item) is dict or type(item) is list
        ]
        if not level:
            return False
    return True


def _opens_deep(value: bytes) -> bool:
    """Return whether an object's text, not yet parsed, has too many opening brackets in a row, outside of strings."""
    at = value.find(OPENINGS)
    return at >= 0 and value.count(b'"', 0, at) % 2 == 0 and value.find(b"\\", 0, at) < 0


_json = msgspec.json.Decoder(Fields).decode
_msgpack = msgspec.msgpack.Decoder(Fields).decode


def _decode_json(value: bytes) -> Fields:
    if (large := len(value) > 2 * MOST_NESTED) and _opens_deep(value):
        raise MalformedEvent(TOO_DEEP)
    try:
        fields = _json(value)
    except msgspec.ValidationError as wrong:
        raise MalformedEvent(f"wrong type: {wrong}") from None
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as wrong:
        raise MalformedEvent(f"not JSON: {wrong}") from None
    if large and value.count(b"[") + value.count(b"{") > MOST_NESTED and _deep(fields):
        raise MalformedEvent(TOO_DEEP)
    return fields


def _decode_msgpack(value: bytes) -> Fields:
    try:
        fields = _msgpack(value)
    except msgspec.ValidationError as wrong:
        raise MalformedEvent(f"wrong type: {wrong}") from None
    except (msgspec.DecodeError, ValueError, RecursionError, OverflowError) as wrong:
        raise MalformedEvent(f"not MessagePack: {wrong}") from None
    return {key: plain(item, MOST_NESTED - 1) for key, item in fields.items()}


def finite(value: Any) -> bool:
    """Return whether a value is a number, and neither infinite nor NaN."""
    return type(value) is int or (isinstance(value, float) and math.isfinite(value))


json = Format(_decode_json, lambda value, _: value)
"""The value is one JSON object, and goes into the sample byte for byte: `fields(format=json)`, the default."""

msgpack = Format(_decode_msgpack, as_json)
"""The value is one MessagePack map, and goes into the sample as JSON: `fields(format=msgpack)`.

Binary becomes base64 text, a timestamp milliseconds since 1970; other extension types are refused.
"""
