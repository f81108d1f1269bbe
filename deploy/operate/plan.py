"""What a start of a pipeline would do, asked without starting it.

Owns finding the feed. How it is decided is `deploy/changes/`'s.
"""

from pathlib import Path

import torch
from msgspec.structs import replace

from deploy import contradictions
from deploy import pipeline as pipelines
from deploy.changes.plan import Plan, plan
from deploy.config import Settings
from deploy.embedded.services import without_log
from deploy.learning.rehearsal import rehearse
from deploy.registry.kinds import CHAMPIONS
from deploy.registry.opening import open_registry
from deploy.registry.storage.home import home


def planned(path: Path, settings: Settings) -> Plan:
    """Return what a start would do; nothing is written, and no service is asked.

    Raises:
        ConfigError: the pipeline or its settings cannot work.
    """
    pipeline = pipelines.load(path)
    private, sync_ms = pipeline.online.private is not None, pipeline.promotion.sync_ms
    contradictions.check(settings, pipeline.name, learns=True, private=private, sync_ms=sync_ms)
    rehearse(pipeline)
    torch.set_num_threads(1)  # as all roles do
    at = home(settings.registry.path, pipeline.name)
    if at.objects.get(CHAMPIONS.object(0)) is None:
        return Plan(feed=pipeline.name, begins=True)
    registry = open_registry(at, settings.registry.key, settings.registry.trusted)
    made = plan(pipeline, settings.join, registry, engines=settings.serve.engines)
    return replace(made, without_log=without_log(settings, at))
