"""What a format makes of a record's bytes, and the formats that need no schema: JSON and MessagePack.

Owns which values are accepted: an object, whose text is one JSON document in UTF-8 that any parser reads. Does not know
which of its fields matter. All of the text is parsed, because a sample embeds it in a larger document as it is.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import msgspec

from streams.errors import MalformedEvent
from streams.formats.plain import MOST_NESTED, TOO_DEEP, encoded, plain
from streams.texts import FRAME_BYTES, GUID_BYTES, why_not_json

OPENINGS = b"[" * MOST_NESTED
Fields = dict[str, Any]
Headers = tuple[tuple[str, bytes], ...]


class Format(NamedTuple):
    """How bytes are read: `decode` returns a value's fields, and `text` its JSON, from the value and its fields.

    `part` returns what a key or a header holds, which may be any value, not only an object. `framed` does so for a key
    with a registry's frame, where a registry is known, whatever the schema of values is. All get the record's headers,
    raise `MalformedEvent`, and `Unreachable` where a registry does not answer. All that they return is plain
    (`plain.py`). `knows_unit` says whether the field of a path is a timestamp, where that is known before any event.
    """

    decode: Callable[[bytes, Headers], Fields]
    text: Callable[[bytes, Fields], bytes]
    part: Callable[[bytes, Headers], Any]
    framed: Callable[[bytes, Headers], Any] | None = None
    knows_unit: Callable[[Sequence[str]], bool] = lambda _: False


def as_json(_: bytes, fields: Fields) -> bytes:
    """Return the JSON text of a value that was not JSON; a number that is not finite becomes null.

    Raises:
        MalformedEvent: JSON has no form for a value.
    """
    return encoded(fields)


def fields_of(value: Any) -> Fields:
    """Return a decoded value, which must be an object.

    Raises:
        MalformedEvent: it is not.
    """
    if not isinstance(value, dict):
        raise MalformedEvent(f"an event must be a record, not {type(value).__name__}")
    return value


def _deep(value: Any) -> bool:
    """Return whether a decoded value is nested too deeply."""
    level = [value] if isinstance(value, dict | list) else []
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


def _reading_json(decode: Callable[[bytes], Any]) -> Callable[[bytes, Headers], Any]:
    def read(value: bytes, _: Headers) -> Any:
        if (large := len(value) > 2 * MOST_NESTED) and _opens_deep(value):
            raise MalformedEvent(TOO_DEEP)
        try:
            parsed = decode(value)
        except msgspec.ValidationError as wrong:
            raise MalformedEvent(f"wrong type: {wrong}") from None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as wrong:
            raise MalformedEvent(why_not_json(value, wrong)) from None
        if large and value.count(b"[") + value.count(b"{") > MOST_NESTED and _deep(parsed):
            raise MalformedEvent(TOO_DEEP)
        return parsed

    return read


def _reading_msgpack(decode: Callable[[bytes], Any]) -> Callable[[bytes, Headers], Any]:
    def read(value: bytes, _: Headers) -> Any:
        try:
            parsed = decode(value)
        except msgspec.ValidationError as wrong:
            raise MalformedEvent(f"wrong type: {wrong}") from None
        except (msgspec.DecodeError, ValueError, RecursionError, OverflowError) as wrong:
            raise MalformedEvent(f"not MessagePack: {wrong}") from None
        return plain(parsed)

    return read


def _unframed(value: bytes) -> bytes:
    """Return the JSON after a schema registry's frame; no JSON begins with a frame's first byte."""
    return value[FRAME_BYTES:] if value[:1] == b"\0" else value[GUID_BYTES:] if value[:1] == b"\1" else value


_json = _reading_json(msgspec.json.Decoder(Fields).decode)
_any_json = _reading_json(msgspec.json.Decoder().decode)

json = Format(_json, lambda value, _: value, _any_json)
"""The value is one JSON object, and goes into the sample byte for byte: `fields(format=json)`, the default."""


def _any_framed(value: bytes, headers: Headers) -> Any:
    return _any_json(_unframed(value), headers)


json_schema = Format(
    lambda value, headers: _json(_unframed(value), headers),
    lambda value, _: _unframed(value),
    _any_framed,
    _any_framed,
)
"""JSON as a schema registry's JSON Schema serializer writes it: the schema's id, which is left out, and JSON.

The id may also be in a header. No registry is needed, because the schema does not change how JSON is read.
"""

msgpack = Format(
    _reading_msgpack(msgspec.msgpack.Decoder(Fields).decode),
    as_json,
    _reading_msgpack(msgspec.msgpack.Decoder().decode),
)
"""The value is one MessagePack map, and goes into the sample as JSON: `fields(format=msgpack)`.

Binary becomes base64 text, a timestamp milliseconds since 1970; other extension types are refused.
"""
