"""Shadowstream's public names: everything that a pipeline.py needs, from one import."""

from compressors.recipe import Distill, Prune, Quantize, Recipe
from deploy.feed import Feed
from deploy.pipeline import FeedEvent, Labelled, Pipeline
from learners.gate import Promotion
from learners.online import Online
from learners.tasks import Binary, Classes, Regression, Task
from streams.errors import ConfigError, MalformedEvent, ShadowstreamError
from streams.events import Event, Json, Outcome, Record, Request, json_outcome, json_request, key_or_hash
from streams.formats.content import json, msgpack
from streams.formats.fields import KEY, TIMESTAMP, fields, header

__all__ = [
    "KEY",
    "TIMESTAMP",
    "Binary",
    "Classes",
    "ConfigError",
    "Distill",
    "Event",
    "Feed",
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
    "fields",
    "header",
    "json",
    "json_outcome",
    "json_request",
    "key_or_hash",
    "msgpack",
]
