"""A time in text: ISO 8601, or the digits of a header `t`, as ms since 1970, UTC.

Owns which texts are times, and why another is none. Does not know how records are read.
"""

import re
from datetime import UTC, datetime, timedelta

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MS_DIGITS = 18  # of a time in ms; more are no time, and thousands no number that Python reads
SECONDS_DIGITS = 10  # as ms the first months of 1970, as seconds the years 2001 to 2286
UNREADABLE_MS = -1 << 60  # stands for the time of a record whose header `t` is no time: refused as out of range
MIDNIGHT = re.compile(r"(.+)T24(:?)00(?:\2(00)(?:[.,]0+)?)?(|[Z+-].*)")  # the end of a day
LEAP = re.compile(r"(.+T\d\d(:?)59\2)60((?:[.,]\d+)?(?:|[Z+-].*))")  # a leap second


def epoch_ms(time: datetime) -> int:
    """Return a time in ms since 1970, UTC; a time without an offset counts as UTC."""
    return ((time if time.tzinfo else time.replace(tzinfo=UTC)) - EPOCH) // timedelta(milliseconds=1)


def iso_ms(text: str) -> int | None:
    """Return a time in ISO 8601 with an offset in ms since 1970; None for any other text.

    A zone's name in brackets, which Java adds, does not matter; finer digits than a microsecond are left out. 24:00 is
    the next day's 00:00, and a leap second the second after it, as in Unix time.

    >>> iso_ms("2026-11-26T18:00:00.123456789+01:00[Europe/Berlin]")
    1795712400123
    >>> iso_ms("2026-11-25T24:00:00Z") == iso_ms("2026-11-25T23:59:60Z") == iso_ms("2026-11-26T00:00:00Z")
    True
    """
    try:
        time = _read(text)
    except ValueError:
        return None
    return epoch_ms(time) if time.tzinfo else None


def why_no_iso(text: str) -> str:
    """Return why a text is no time in ISO 8601 with an offset, where that can be said.

    >>> why_no_iso("2026-11-26"), why_no_iso("2026-11-26T18:61:00Z")
    ('it has no time of day', 'minute must be in 0..59')
    """
    try:
        time = _read(text)
    except ValueError as wrong:
        return "" if "isoformat" in str(wrong) else str(wrong)
    if time.tzinfo:
        return ""
    return "it has no offset, such as Z or +01:00" if re.search("[T ]", text.upper()) else "it has no time of day"


def _read(text: str) -> datetime:
    """Return a time, with or without an offset.

    Raises:
        ValueError: the text is none.
    """
    text = text.partition("[")[0]
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        usual = text.upper()
    usual, later = usual.replace(" ", "T", 1), timedelta()
    if day := MIDNIGHT.fullmatch(usual):
        usual, later = f"{day[1]}T00{day[2]}00{day[4]}", timedelta(days=1)
    elif leap := LEAP.fullmatch(usual):
        usual, later = f"{leap[1]}59{leap[3]}", timedelta(seconds=1)
    try:
        return datetime.fromisoformat(usual) + later
    except OverflowError:
        raise ValueError("a time after the year 9999") from None


def header_ms(value: bytes) -> int:
    """Return the time in a header `t`: digits are ms since 1970; else ISO 8601 with an offset.

    Ten digits are refused: as ms they would be early in 1970, and are seconds. What is no time is `UNREADABLE_MS`.
    """
    if value.isdigit():
        return int(value) if len(value) <= MS_DIGITS and len(value) != SECONDS_DIGITS else UNREADABLE_MS
    time = iso_ms(value.decode(errors="replace"))
    return UNREADABLE_MS if time is None else time
