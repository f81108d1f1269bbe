"""A pipeline's functions called once, on the first row of its history, before any service starts.

Owns what their answers must be, in words. Does not know Kafka, Redis or Ray.
"""

from collections.abc import Callable
from itertools import islice
from typing import Any

import torch
from torch import nn

from compressors.agreement import answer
from compressors.answers import checked
from compressors.arguments import shown
from compressors.checks import check_learning, check_model
from compressors.wrappers import unwrapped
from deploy.checks.recorded import check_events
from deploy.learning.candidates import target_of, times_of
from deploy.loading import users_code
from deploy.pipeline import Pipeline
from streams.errors import ConfigError


def rehearse(pipeline: Pipeline) -> None:
    """Make the model, and let it answer the first row of the history, if there is one; torch's chance stays as it was.

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
        return
    for row in _iterable("history", "labelled rows", pipeline.history):
        target_of(pipeline, row)
        times_of(pipeline, row)
        _check_kind(pipeline.features, row.features)
        with users_code("Pipeline.encode, called with one row"):
            inputs = pipeline.encoder().encode([row.features])
        with users_code("Pipeline.model, called with what Pipeline.encode returned of one row"):
            checked(answer(model.eval(), inputs), 1, pipeline.task.outputs)


def _iterable(name: str, what: str, make: Callable[[], Any]) -> list[Any]:
    """Return the first of what a function returns."""
    with users_code(f"Pipeline.{name}"):
        rows = make()
        if not hasattr(rows, "__iter__"):
            raise ConfigError(f"Pipeline.{name} must return {what}, got {shown(rows)}")
        return list(islice(iter(rows), 1))


def _check_kind(kind: Any, features: object) -> None:
    """Check that a row's features are what a request's JSON is decoded into: `encode` is called with both."""
    if isinstance(kind, type) and not isinstance(features, kind):
        raise ConfigError(
            f"Pipeline.history: a row's features must be of the type Pipeline.features, {kind.__name__}, got "
            f"{shown(features)}"
        )
