"""What the bytes of a key or header say: an id's text, or by which serializer they seem to be written.

Owns which bytes are text without being told: UTF-8 without control characters, or a JSON string. Does not know how
records are read.
"""

import json
import re
import struct
from collections.abc import Sequence
from contextlib import suppress
from uuid import UUID

import msgspec

from streams.errors import MalformedEvent

SHOWN = 60  # at most so many characters of a refused value go into the reason
FORMS = "json_schema, avro(registry=...) or protobuf(registry=...)"
OPENS = frozenset(b'"{[')
CONTROL = re.compile("[\x00-\x1f\x7f-\x9f]")
FRAME_BYTES, GUID_BYTES = 5, 17
KEY_HEADER, VALUE_HEADER = "__key_schema_id", "__value_schema_id"  # headers that hold a schema's id, instead of a frame
_string = msgspec.json.Decoder(str).decode
_json = msgspec.json.Decoder().decode


def text_of(value: bytes, where: str) -> str:
    """Return the text in a key or header, without the quotes of a JSON string; `where` names it in the reason.

    Raises:
        MalformedEvent: it is a JSON object or list, has control characters or is not UTF-8; the reason says what it
            may be, and how that is read.

    >>> text_of(b'"o9"', "key")
    'o9'
    >>> text_of((7).to_bytes(2, "big"), "key")
    Traceback (most recent call last):
    streams.errors.MalformedEvent: key is not text: b'\\x00\\x07'; if it is the short 7 of Kafka, say key('short')
    """
    try:
        text = value.decode()
    except UnicodeDecodeError:
        raise MalformedEvent(_why(value, where, "UTF-8")) from None
    if value and value[0] in OPENS:
        text = _unquoted(text, where)
    if not text.isprintable() and CONTROL.search(text):  # the first is much faster, but stricter
        raise MalformedEvent(_why(value, where, "text"))
    return text


def key_text(key: bytes, headers: Sequence[tuple[str, bytes]]) -> str:
    """Return the text in a record's key.

    Raises:
        MalformedEvent: it is not text, or a header names its schema: then its bytes may look like text, and are not.
    """
    for name, _ in headers:
        if name == KEY_HEADER:
            named = f"key is written by a schema that the header {KEY_HEADER!r} names: {key[:SHOWN]!r}"
            raise MalformedEvent(f"{named}; say key(FORMAT) with {FORMS}")
    return text_of(key, "key")


def _unquoted(text: str, where: str) -> str:
    try:
        return _string(text)
    except msgspec.ValidationError:
        kind = "object" if text[0] == "{" else "list"
        raise MalformedEvent(
            f"{where} is a JSON {kind}: {text[:SHOWN]!r}; name the field that counts, as {_call(where, 'json')[:-1]}, "
            f"'NAME'), or take the text as it is, {_call(where, repr('string'))}"
        ) from None
    except (msgspec.DecodeError, RecursionError):
        return text


def _why(value: bytes, where: str, no: str) -> str:
    return f"{where} is not {no}: {value[:SHOWN]!r}; {guesses(value, where)}"


def guesses(value: bytes, where: str = "key") -> str:
    """Return what bytes that are not text may be, and how a feed.py would say so."""
    found = []
    if frame := frame_of(value):
        found.append(f"if it has {frame}, say {_call(where, 'FORMAT')} with {FORMS}")
    if kinds := NUMBERS.get(len(value)):
        whole, real = kinds
        number = struct.unpack(f">{whole[1]}", value)[0]
        other = f" (or {real[0]} {struct.unpack(f'>{real[1]}', value)[0]!r})" if real else ""
        found.append(f"if it is the {whole[0]} {number}{other} of Kafka, say {_call(where, repr(whole[0]))}")
    return "; ".join(found) or f"if these bytes are what counts, say {_call(where, repr('bytes'))}"


NUMBERS: dict[int, tuple[tuple[str, str], tuple[str, str] | None]] = {
    2: (("short", "h"), None),
    4: (("int", "i"), ("float", "f")),
    8: (("long", "q"), ("double", "d")),
}


def _call(where: str, form: str) -> str:
    """Return how a key or header is named in a feed.py with a format."""
    return f"key({form})" if where == "key" else f"{where.replace(' ', '(', 1)}, {form})"


def frame_of(value: bytes) -> str:
    """Return the words for a schema registry's frame that bytes seem to begin with, or nothing."""
    if len(value) > FRAME_BYTES and value[0] == 0 and (number := int.from_bytes(value[1:FRAME_BYTES], "big")):
        return f"a schema registry's frame (schema {number})"
    if len(value) > GUID_BYTES and value[0] == 1:
        return f"a schema registry's frame (schema {UUID(bytes=value[1:GUID_BYTES])})"
    return ""


def why_not_json(value: bytes, wrong: Exception) -> str:
    """Return why bytes are not JSON, where a decoder says what is `wrong`: it does not know NaN, nor frames."""
    if seems := _seems(value):
        return f"not JSON, but {seems}"
    if frame := frame_of(value):
        return f"not JSON, but {frame}: a format for it is {FORMS}"
    if "trailing characters" in str(wrong):
        return f"not JSON, but more follows a first value: an event is one record ({wrong})"
    if (half := SURROGATE.search(value)) and "truncated" in str(wrong):
        return f"not JSON: {half[0].decode()} is half of a character (a lone surrogate)"
    constants: list[str] = []
    if b"NaN" in value or b"Infinity" in value:
        with suppress(ValueError, RecursionError):
            json.loads(value, parse_constant=constants.append)
            return f"not JSON: {constants[0]} is no JSON value; write null, or leave it out"
    return f"not JSON: {wrong}"


def _seems(value: bytes) -> str:
    """Return what a value is in words, where its first bytes tell, and it is neither JSON nor framed."""
    if not value.strip():
        return "empty: a record without a value is a tombstone, and has null, not ''"
    known = next((kind for opening, kind in OPENINGS if value.startswith(opening)), "")
    if known:
        return known
    return (
        "UTF-16 or UTF-32: write UTF-8" if value[:2] in (b"\0{", b"{\0", b"\0[", b"[\0") and not len(value) % 2 else ""
    )


OPENINGS = (
    (b"\xef\xbb\xbf", "UTF-8 behind a byte order mark: write it without"),
    (b"\xff\xfe", "UTF-16 or UTF-32: write UTF-8"),
    (b"\xfe\xff", "UTF-16 or UTF-32: write UTF-8"),
    (b"\x1f\x8b", "gzip: let the producer compress (compression.type), not its serializer"),
    (b"<", "XML, it seems"),
)
SURROGATE = re.compile(rb"\\u[dD][89abAB][0-9a-fA-F]{2}(?!\\u[dD][c-fC-F])")
