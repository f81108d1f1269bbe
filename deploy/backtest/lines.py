"""Records from a file of JSON lines, which may be compressed with gzip or zstd.

Owns the format of a line, and what is said of one that is wrong. Does not know what a pipeline reads of a record.
"""

import gzip
import io
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO
from zlib import crc32
from zlib import error as ZlibError

import msgspec
import zstandard
from msgspec import Raw, Struct

from streams.errors import ConfigError
from streams.events import Record
from streams.moments import SECONDS_DIGITS, UNREADABLE_MS, header_ms, why_no_iso

NO_TIME = -1  # of a record that has no timestamp
FORM = '{"key": "a1", "t": 1357004580000, "value": {...}}'
UNITS = {SECONDS_DIGITS: "seconds", 16: "microseconds", 19: "nanoseconds"}  # of so many digits, from 2001 to 2286
GZIP, ZSTD, OTHERS = b"\x1f\x8b", b"\x28\xb5\x2f\xfd", {b"PAR1": "Parquet", b"PK": "a zip file", b"Obj\x01": "Avro"}
CUT = 80  # bytes of a line that are shown


class Line(Struct, forbid_unknown_fields=True):
    """A record as a line of JSON: its `value`, which is JSON itself, `key`, time `t` (ms, or ISO 8601) and headers."""

    value: Raw
    key: str | int | None = None
    t: int | str | None = None
    headers: dict[str, str] = {}


_decode = msgspec.json.Decoder(Line).decode


def lines(path: Path, topic: str, partitions: int = 1) -> Iterator[Record]:
    """Yield the records of a file; its key says in which partition one is. What is no JSON has the time before it.

    Raises:
        ConfigError: the file cannot be read, none of its lines is JSON, or a line's field is wrong.
    """
    first, some, last_ms = b"", False, 0
    try:
        with path.open("rb") as file:
            for number, text in enumerate(_opened(file)):
                if value := text.strip():
                    first, line = first or value, _line(value, f"{path}, line {number + 1}")
                    some = some or line is not None
                    line = line or Line(Raw(value), t=last_ms)
                    record = _record(topic, number, partitions, line, f"{path}, line {number + 1}")
                    last_ms = max(last_ms, record.timestamp_ms)
                    yield record
    except (OSError, EOFError, ZlibError, zstandard.ZstdError) as wrong:
        raise ConfigError(f"cannot read {path}: {getattr(wrong, 'strerror', None) or wrong}") from None
    if first and not some:
        what = next((f"; it is {name}" for magic, name in OTHERS.items() if first.startswith(magic)), "")
        raise ConfigError(f"{path} has no line of JSON{what}: a line is {FORM}, or a value alone. Found {cut(first)}")


def _opened(file: BinaryIO) -> BinaryIO:
    """Return what a file holds, decompressed by how it begins."""
    begins = file.read(4)
    file.seek(0)
    if begins.startswith(GZIP):
        return gzip.open(file)  # type: ignore[return-value]
    return io.BytesIO(b"".join(_frames(file.read()))) if begins == ZSTD else file


def _frames(data: bytes) -> Iterator[bytes]:
    """Yield what each frame of zstd holds.

    Raises:
        EOFError: the last one is cut off.
    """
    while data:
        frame = zstandard.ZstdDecompressor().decompressobj()
        yield frame.decompress(data)
        if not frame.eof:
            raise EOFError("its last frame is cut off")
        data = frame.unused_data


def _line(value: bytes, where: str) -> Line | None:
    """Return a line of JSON, which is a value alone where it is no `Line`; None for what is no JSON.

    Raises:
        ConfigError: it has the fields of a `Line` and no others, and one is of another type.
    """
    try:
        return _decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as wrong:
        why = str(wrong)
    try:
        found = msgspec.json.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None
    if isinstance(found, dict) and "value" in found and len(found) > 1 and found.keys() <= {*Line.__struct_fields__}:
        raise ConfigError(f"{where}: {why}; a line is {FORM}, with t in milliseconds since 1970 or in ISO 8601")
    return Line(Raw(value))


def _record(topic: str, number: int, partitions: int, line: Line, where: str) -> Record:
    key = None if line.key is None else str(line.key).encode()
    t_ms, headers = line.t if isinstance(line.t, int) else NO_TIME, dict(line.headers)
    if isinstance(line.t, int) and (why := _why_no_ms(line.t)):
        raise ConfigError(f"{where}: t is {line.t}, {why}: t is in milliseconds since 1970, or in ISO 8601")
    if isinstance(line.t, str):
        t_ms, headers["t"] = header_ms(line.t.encode()), line.t
        if t_ms == UNREADABLE_MS:
            why = why_no_iso(line.t)
            raise ConfigError(
                f"{where}: t is {line.t!r}{f', and {why}' if why else ''}: t is in milliseconds since 1970, or in ISO "
                "8601 with an offset"
            )
    encoded = tuple((name, value.encode()) for name, value in headers.items())
    return Record(topic, crc32(key or b"") % partitions, number, t_ms, t_ms, key, bytes(line.value), encoded)


def _why_no_ms(t: int) -> str:
    """Return why a number is no time in ms, "" where it may be one."""
    if t < 0:
        return "before 1970"
    unit = UNITS.get(len(str(t)))
    return f"which is {unit}" if unit else ""


def cut(value: bytes) -> str:
    """Return the beginning of a line, for people."""
    text = value[:CUT].decode(errors="replace")
    return repr(text) if len(value) <= CUT else f"{text!r}…"
