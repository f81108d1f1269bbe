"""The real streams of benchmarks/outcomes/: of several classes, of any of several, and of numbers.

Digits are scikit-learn's; segments, yeast's genes (Elisseeff & Weston 2001) and a president's approval River's. Owns
their features, tasks, order and delays. Does not know who learns from them.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from benchmarks.learners import feeds
from benchmarks.learners.feeds import DAY_MS, HOUR_MS, WINDOW_MS, Missing, Stream
from learners.tasks.classes import Classes
from learners.tasks.multilabel import MultiLabel
from learners.tasks.regression import Regression

STATUS = ("Check-Out", "Canceled", "No-Show")


@dataclass(frozen=True)
class Feed:
    """A stream and the task of its outcomes."""

    stream: Stream
    task: Classes | MultiLabel | Regression


def _plain(name: str, table: list[dict[str, Any]], labels: Sequence[Any], live: int) -> Stream:
    """Return a table without times: a row a second, told ten seconds later."""
    row = msgspec.defstruct("Row", [(field.replace("-", "_"), float) for field in table[0]], gc=False)
    rows, t_ms = [row(*map(float, one.values())) for one in table], [1_000 * n for n in range(len(table))]
    known = [ms + 10_000 for ms in t_ms]
    return Stream(name, rows, t_ms, known, list(labels), live, simulated="10 rows")


def digits(_: Path | None) -> Feed:
    """Handwritten digits, 8 × 8 pixels."""
    from sklearn.datasets import load_digits  # noqa: PLC0415 an extra of this benchmark

    pixels, labels = load_digits(return_X_y=True)
    table = [{f"x{n}": x for n, x in enumerate(row)} for row in pixels]
    return Feed(_plain("digits", table, labels.astype(float).tolist(), 200), Classes(10))


def segments(_: Path | None) -> Feed:
    """Patches of images, of seven kinds."""
    from river.datasets import ImageSegments  # noqa: PLC0415

    table, names = zip(*ImageSegments(), strict=True)
    order = sorted(set(names))
    return Feed(_plain("segments", list(table), [float(order.index(name)) for name in names], 200), Classes(len(order)))


def yeast(_: Path | None) -> Feed:
    """Which of fourteen functions a yeast's genes have, any of them at once."""
    from river.datasets import Yeast  # noqa: PLC0415

    table, named = zip(*Yeast(), strict=True)
    labels = [tuple(map(float, one.values())) for one in named]
    return Feed(_plain("yeast", list(table), labels, 200), MultiLabel(tuple(named[0])))


def priority(data: Path | None) -> Feed:
    """Which of five priorities a bug report gets, from its text; told an hour later."""
    rows = list(feeds._csv(data, "gitbugs-hadoop/hadoop_bugs.csv.gz"))
    order = sorted({row["priority"] for row in rows})
    fields = [("versions", str | None), ("text", str), ("length", int), ("weekday", int), ("hour", int)]
    kind, made = msgspec.defstruct("Report", fields, gc=False), []
    for row in rows:
        text, at = f"{row['summary']} {row['description']}", feeds._time(row["created_at"])
        made.append(kind(row["affects_versions"] or None, text, len(text), at.weekday(), at.hour))
    t_ms = [feeds._ms(row["created_at"]) for row in rows]
    labels = [float(order.index(row["priority"])) for row in rows]
    told = [ms + HOUR_MS for ms in t_ms]
    return Feed(Stream("priority", made, t_ms, told, labels, 500, simulated="1 hour"), Classes(len(order)))


def status(data: Path | None) -> Feed:
    """Whether hotel guests came, cancelled, or did neither; told when that was known, months later."""
    stream = feeds.hotel(data)
    table = feeds._csv(data, "hotel-bookings/hotel_bookings.csv.gz")
    told = [row["reservation_status"] for row in table if date.fromisoformat(row["booked_on"]) >= date(2015, 7, 1)]
    labels = [float(STATUS.index(name)) for name in told]
    return Feed(Stream("status", stream.rows, stream.t_ms, stream.known_ms, labels, stream.live), Classes(STATUS))


def delay_class(data: Path | None) -> Feed:
    """Flights to April: early, less than 15 minutes late, than 60, or more."""
    stream = _minutes("delay class", data)
    labels = np.digitize(stream.labels, [0, 15, 60]).astype(float).tolist()
    return Feed(
        Stream("delay class", stream.rows, stream.t_ms, stream.known_ms, labels, stream.live, WINDOW_MS), Classes(4)
    )


def delay(data: Path | None) -> Feed:
    """How many minutes late flights to April are."""
    return Feed(_minutes("delay", data), Regression())


def price(data: Path | None) -> Feed:
    """The price of a night in a hotel, a day later."""
    stream = feeds.hotel(data)
    rows = [msgspec.structs.replace(row, adr=0.0) for row in stream.rows]
    told = [ms + DAY_MS for ms in stream.t_ms]
    labels = [row.adr for row in stream.rows]
    return Feed(Stream("price", rows, stream.t_ms, told, labels, stream.live, simulated="1 day"), Regression())


def approval(_: Path | None) -> Feed:
    """The approval of a president, from five polls."""
    from river.datasets import TrumpApproval  # noqa: PLC0415

    table, labels = zip(*TrumpApproval(), strict=True)
    return Feed(_plain("approval", list(table), labels, 100), Regression())


def _minutes(name: str, data: Path | None) -> Stream:
    try:
        from examples.flights.pipeline import Flight, flights  # noqa: PLC0415 it needs pandas and the data

        table = flights()
    except (ImportError, ValueError) as error:
        raise Missing(f"pip install 'shadowstream[examples]' ({error})") from None
    table = table[(table.month <= 4) & ~table.arr_delay.isna()]
    rows = list(map(Flight, *(table[name].tolist() for name in Flight.__struct_fields__)))
    t_ms, told = table.departs_ms.tolist(), table.arrives_ms.astype(int).tolist()
    return Stream(name, rows, t_ms, told, table.arr_delay.tolist(), int((table.month == 1).sum()), WINDOW_MS)


STREAMS: dict[str, Callable[[Path | None], Feed]] = {
    "digits": digits,
    "segments": segments,
    "yeast": yeast,
    "priority": priority,
    "delay-class": delay_class,
    "status": status,
    "delay": delay,
    "price": price,
    "approval": approval,
}
