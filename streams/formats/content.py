"""What a format makes of a record's value, and the formats that need no schema: JSON and MessagePack.

Owns what is an acceptable value: an object, whose text is one JSON document in UTF-8 that any parser reads back. Does
not know which of its fields matter. The text is embedded in other documents as it is, so nothing in it goes unparsed.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

import msgspec

from streams.errors import MalformedEvent

MOST_NESTED = 128  # levels; readers of samples put them into documents of their own, and their limits start at 500
TOO_DEEP = f"nested deeper than {MOST_NESTED} levels"
OPENINGS = b"[" * MOST_NESTED
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
encode: Callable[[Any], bytes] = msgspec.json.Encoder().encode
Fields = dict[str, Any]


class Format(NamedTuple):
    """How a value is read: into its fields, and from the value and those into JSON text.

    Both raise `MalformedEvent`, and `Unreachable` where a schema cannot be asked for.
    """

    decode: Callable[[bytes], Fields]
    text: Callable[[bytes, Fields], bytes]


def again(_: bytes, fields: Fields) -> bytes:
    """Write the JSON text of fields that were not JSON; a number that is not finite becomes null.

    Raises:
        MalformedEvent: JSON has no form for a value.
    """
    try:
        return encode(fields)
    except (TypeError, ValueError, RecursionError) as wrong:
        raise MalformedEvent(f"the event has no JSON form: {wrong}") from None


def plain(value: Any, levels: int = MOST_NESTED) -> Any:
    """Give a decoded value in JSON's types: times become ms since 1970, what has a text stays for the encoder.

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
        return ms(value)
    return value


def ms(time: datetime) -> int:
    """Give a time in ms since 1970; one without an offset counts as UTC."""
    return ((time if time.tzinfo else time.replace(tzinfo=UTC)) - EPOCH) // timedelta(milliseconds=1)


def _level(levels: int) -> None:
    if not levels:
        raise MalformedEvent(TOO_DEEP)


def _deep(value: Any) -> bool:
    level = [value]
    for _ in range(MOST_NESTED):
        level = [
            item
            for held in level
            for item in (held.values() if type(held) is dict else held)
            if type(item) is dict or type(item) is list
        ]
        if not level:
            return False
    return True


def _opens_deep(value: bytes) -> bool:
    """Whether an object's text shows too many levels before it is parsed: so many brackets in a row, in no string."""
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
    """Whether a value is a number, and neither infinite nor NaN."""
    return type(value) is int or (isinstance(value, float) and math.isfinite(value))


json = Format(_decode_json, lambda value, _: value)
"""The value is one JSON object, and goes into the sample byte for byte: `fields(format=json)`, the default."""

msgpack = Format(_decode_msgpack, again)
"""The value is one MessagePack map, and goes into the sample as JSON: `fields(format=msgpack)`.

Binary becomes base64 text, a timestamp milliseconds since 1970; other extension types are refused.
"""
