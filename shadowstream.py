"""Shadowstream's public names: everything that a pipeline.py or feed.py needs, from one import.

What needs torch is imported when it is first asked for: a join without a model neither waits for it nor holds it.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if __name__ == "__main__":  # before any other import: a signal is heard from here on
    import_module("deploy.cli.main").main()

from deploy.feed import Feed
from streams.errors import ConfigError, MalformedEvent, ShadowstreamError, Skipped
from streams.events import Event, Outcome, Record, Request
from streams.formats.content import json, json_schema, msgpack
from streams.formats.fields import KEY, TIMESTAMP, fields, header, key
from streams.readers import Json, json_outcome, json_request, key_or_hash

if TYPE_CHECKING:
    from compressors.advisor.advise import advise
    from compressors.advisor.search import Budget
    from compressors.artifact.folder import pull, push
    from compressors.artifact.format import describe as describe_artifact
    from compressors.artifact.format import load as load_artifact
    from compressors.compress import Compressed, compress
    from compressors.data import Data
    from compressors.engines.fastest import fastest
    from compressors.engines.onnx import export_onnx
    from compressors.errors import ArtifactError, Refused
    from compressors.recipe import Distill, Prune, PruneStructured, Quantize, Recipe, Retrain
    from deploy.pipeline import FeedEvent, Labelled, Pipeline
    from learners.evaluation.canary import Canary
    from learners.evaluation.gate import Promotion
    from learners.evaluation.guards.guard import GuardRails, TrialReport
    from learners.labels.settings import Trust
    from learners.live.experts.expert import Expert
    from learners.live.experts.pickled import pickled, unpickled
    from learners.live.settings import Intercept, Live, Wide
    from learners.online.private import Private
    from learners.online.settings import Online
    from learners.online.transforms.numbers import Clip, Standardize
    from learners.online.transforms.tabular import Tabular
    from learners.online.transforms.tokens import Hash, TargetMean, Vocabulary, token
    from learners.online.transforms.transform import Transform
    from learners.tasks.bandit import Bandit
    from learners.tasks.binary import Binary
    from learners.tasks.classes import Classes
    from learners.tasks.multilabel import MultiLabel
    from learners.tasks.next_token import NextToken
    from learners.tasks.ranking import Ranking
    from learners.tasks.regression import Quantile, Regression
    from learners.tasks.sequence_score import SequenceScore
    from learners.tasks.task import Task

__all__ = [
    "KEY",
    "TIMESTAMP",
    "ArtifactError",
    "Bandit",
    "Binary",
    "Budget",
    "Canary",
    "Classes",
    "Clip",
    "Compressed",
    "ConfigError",
    "Data",
    "Distill",
    "Event",
    "Expert",
    "Feed",
    "FeedEvent",
    "GuardRails",
    "Hash",
    "Intercept",
    "Json",
    "Labelled",
    "Live",
    "MalformedEvent",
    "MultiLabel",
    "NextToken",
    "Online",
    "Outcome",
    "Pipeline",
    "Private",
    "Promotion",
    "Prune",
    "PruneStructured",
    "Quantile",
    "Quantize",
    "Ranking",
    "Recipe",
    "Record",
    "Refused",
    "Regression",
    "Request",
    "Retrain",
    "SequenceScore",
    "ShadowstreamError",
    "Skipped",
    "Standardize",
    "Tabular",
    "TargetMean",
    "Task",
    "Transform",
    "TrialReport",
    "Trust",
    "Vocabulary",
    "Wide",
    "advise",
    "compress",
    "describe_artifact",
    "export_onnx",
    "fastest",
    "fields",
    "header",
    "json",
    "json_outcome",
    "json_request",
    "json_schema",
    "key",
    "key_or_hash",
    "load_artifact",
    "msgpack",
    "pickled",
    "pull",
    "push",
    "token",
    "unpickled",
]

_LATER = {
    "compressors.advisor.advise": ("advise",),
    "compressors.artifact.format": ("describe_artifact", "load_artifact"),
    "compressors.compress": ("Compressed", "compress"),
    "compressors.errors": ("ArtifactError", "Refused"),
    "compressors.data": ("Data",),
    "compressors.engines.fastest": ("fastest",),
    "compressors.artifact.folder": ("pull", "push"),
    "compressors.engines.onnx": ("export_onnx",),
    "compressors.recipe": ("Distill", "Prune", "PruneStructured", "Quantize", "Recipe", "Retrain"),
    "compressors.advisor.search": ("Budget",),
    "deploy.pipeline": ("FeedEvent", "Labelled", "Pipeline"),
    "learners.evaluation.gate": ("Promotion",),
    "learners.evaluation.canary": ("Canary",),
    "learners.evaluation.guards.guard": ("GuardRails", "TrialReport"),
    "learners.labels.settings": ("Trust",),
    "learners.live.experts.expert": ("Expert",),
    "learners.live.experts.pickled": ("pickled", "unpickled"),
    "learners.live.settings": ("Intercept", "Live", "Wide"),
    "learners.online.private": ("Private",),
    "learners.online.settings": ("Online",),
    "learners.online.transforms.tabular": ("Tabular",),
    "learners.online.transforms.numbers": ("Clip", "Standardize"),
    "learners.online.transforms.tokens": ("Hash", "TargetMean", "Vocabulary", "token"),
    "learners.online.transforms.transform": ("Transform",),
    "learners.tasks.bandit": ("Bandit",),
    "learners.tasks.binary": ("Binary",),
    "learners.tasks.classes": ("Classes",),
    "learners.tasks.multilabel": ("MultiLabel",),
    "learners.tasks.next_token": ("NextToken",),
    "learners.tasks.ranking": ("Ranking",),
    "learners.tasks.regression": ("Quantile", "Regression"),
    "learners.tasks.sequence_score": ("SequenceScore",),
    "learners.tasks.task": ("Task",),
}
_NAMED_THERE = {"describe_artifact": "describe", "load_artifact": "load"}


def __getattr__(name: str) -> Any:
    for module, names in _LATER.items():
        if name in names:
            return getattr(import_module(module), _NAMED_THERE.get(name, name))
    raise AttributeError(f"module 'shadowstream' has no attribute {name!r}")
