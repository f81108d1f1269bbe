"""Shadowstream's public names: everything that a pipeline.py needs, from one import."""

from compressors.recipe import Distill, Prune, Quantize, Recipe
from deploy.pipeline import FeedEvent, Labelled, Pipeline
from learners.gate import Promotion
from learners.online import Online
from learners.tasks import Binary, Classes, Regression, Task
from streams.errors import ConfigError, MalformedEvent, ShadowstreamError
from streams.events import Json, Outcome, Record, Request, json_outcome, json_request, key_or_hash

__all__ = [
    "Binary",
    "Classes",
    "ConfigError",
    "Distill",
    "FeedEvent",
    "Json",
    "Labelled",
    "MalformedEvent",
    "Online",
    "Outcome",
    "Pipeline",
    "Promotion",
    "Prune",
    "Quantize",
    "Recipe",
    "Record",
    "Regression",
    "Request",
    "ShadowstreamError",
    "Task",
    "json_outcome",
    "json_request",
    "key_or_hash",
]
