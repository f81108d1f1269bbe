"""A pipeline's functions called once, on the first row of its history, or on its feed's first requests, before a start.

Owns what their answers must be, in words. Does not know Kafka, Redis or Ray.
"""

import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import islice
from typing import Any

import torch
from torch import nn

from compressors import scale
from compressors.agreement import answer
from compressors.answers import checked, evaluating
from compressors.arguments import shown
from compressors.artifact.parity import parity_of
from compressors.checks import check_learning, check_model
from compressors.dry_run import check_repeats
from compressors.errors import Unsuited
from compressors.rows import alike
from compressors.wrappers import unwrapped
from deploy.checks.recorded import check_events
from deploy.learning.candidates import target_of, times_of, waits
from deploy.loading import users_code
from deploy.pipeline import Pipeline
from streams.errors import ConfigError, MalformedEvent, ShadowstreamError, Skipped
from streams.events import Record
from streams.returned import as_request

ASKED, LOOKED_AT = 8, 1_000  # the first requests of a recorded feed, among so many events
FILLED = 1e-3  # mean difference of a row's answer beside longer rows, as a share of the largest; rounding: 1e-6


def rehearse(pipeline: Pipeline) -> None:
    """Make the model, and let it answer the first row of the history; torch's chance stays as it was.

    Without a history it answers the first requests of the recorded feed, if there is one.

    Raises:
        ConfigError: one of the pipeline's functions raises or returns what it must not; the message names it.
    """
    with torch.random.fork_rng(devices=[]):
        _rehearse(pipeline)


def _rehearse(pipeline: Pipeline) -> None:
    with users_code("Pipeline.model"):
        model: Any = pipeline.model()
    if not isinstance(model, nn.Module):
        raise ConfigError(f"Pipeline.model must return a torch.nn.Module, got {shown(model)}")
    with users_code("Pipeline.model"):
        model = unwrapped(model)
        check_model(model)
        check_learning(model)
    if pipeline.feed is not None:
        check_events(_iterable("feed", "events", pipeline.feed))
    if pipeline.history is None:
        return _ask(pipeline, model.eval())
    rows = _iterable("history", "labelled rows", pipeline.history, ASKED)
    for row in rows[:1]:
        if not waits(row):
            target_of(pipeline, row)
        times_of(pipeline, row)
        _check_kind(pipeline.features, row.features)
        _answer(pipeline, model.eval(), row.features)
    _look_at_filling(pipeline, model, [getattr(row, "features", None) for row in rows])


def _answer(pipeline: Pipeline, model: nn.Module, features: Any) -> None:
    with users_code("Pipeline.encode, called with one row"):
        inputs = pipeline.encoder().encode([features])
    with users_code("Pipeline.model, called with what Pipeline.encode returned of one row"):
        checked(answer(model, inputs), 1, pipeline.task.outputs)
        try:
            check_repeats(model, inputs)
        except ValueError as wrong:
            raise Unsuited(str(wrong)) from wrong


def _ask(pipeline: Pipeline, model: nn.Module) -> None:
    """Check that one of the feed's first requests is answered: one that is not may be bad itself.

    Raises:
        ConfigError: none is; the message says why the first one is not.
    """
    whys: list[str] = []
    for record in _requests(pipeline):
        try:
            with users_code("Pipeline.request, called with the feed's first request"):
                features = as_request(pipeline.request, pipeline.request(record)).features
                row = pipeline.encoder().decode(features)
            _answer(pipeline, model, row)
            return _look_at_filling(pipeline, model, _read(pipeline))
        except Skipped:
            continue
        except (ConfigError, MalformedEvent, Unsuited) as wrong:
            whys.append(str(wrong))
    if whys:
        raise ConfigError(f"pipeline {pipeline.name!r}: none of the feed's first requests can be answered: {whys[0]}")


def _requests(pipeline: Pipeline) -> list[Record]:
    """Return the first requests of the recorded feed, as the server reads them in a replay."""
    events = islice(pipeline.feed() if pipeline.feed else (), LOOKED_AT)
    asked = (event for event in events if event.topic == "requests")
    return [Record(e.topic, 0, n, e.t_ms, e.t_ms, e.key, e.value) for n, e in enumerate(islice(asked, ASKED))]


def _read(pipeline: Pipeline) -> list[Any]:
    """Return the features of the feed's first requests, as far as they can be read."""
    rows, decode = list[Any](), pipeline.encoder().decode
    for record in _requests(pipeline):
        with suppress(ShadowstreamError), users_code("Pipeline.request"):
            rows.append(decode(as_request(pipeline.request, pipeline.request(record)).features))
    return rows


def _look_at_filling(pipeline: Pipeline, model: nn.Module, rows: Sequence[Any]) -> None:
    """Say where rows are answered otherwise beside longer ones: the model reads what fills its batch."""
    if len(rows) < 2:
        return
    encoder = pipeline.encoder()
    with suppress(ShadowstreamError), users_code("Pipeline.encode"), evaluating(model):
        together, alone = encoder.encode(rows), [encoder.encode([row]) for row in rows]
        if not all(alike(together, one) for one in alone):
            found = parity_of(model(*together), torch.cat([model(*one) for one in alone]), scale.zero(model))
            if found.mean > FILLED:
                logging.getLogger("shadowstream").warning(
                    "pipeline %r: a row is answered otherwise beside longer ones (by %.2g of the largest answer): the "
                    "model reads what encode fills up, so answers depend on who asks at the same time; leave the "
                    "filling out where you pool, by a mask", pipeline.name, found.mean,
                )  # fmt: skip


def _iterable(name: str, what: str, make: Callable[[], Any], count: int = 1) -> list[Any]:
    """Return the first of what a function returns."""
    with users_code(f"Pipeline.{name}"):
        rows = make()
        if not hasattr(rows, "__iter__"):
            raise ConfigError(f"Pipeline.{name} must return {what}, got {shown(rows)}")
        return list(islice(iter(rows), count))


def _check_kind(kind: Any, features: object) -> None:
    """Check that a row's features are what a request's JSON is decoded into: `encode` is called with both."""
    if isinstance(kind, type) and not isinstance(features, kind):
        raise ConfigError(
            f"Pipeline.history: a row's features must be of the type Pipeline.features, {kind.__name__}, got "
            f"{shown(features)}"
        )
