"""A process that decides under some of the policies, so that the others have their own.

It ends when its parent does (`deploy/embedded/child.py`). What it found is in the file `out`, as JSON.
"""

import sys
from pathlib import Path

import msgspec
from msgspec import Struct

from deploy import pipeline as pipelines
from deploy.backtest.decided import Span, decide
from deploy.backtest.policies import Policy
from deploy.config import Settings
from deploy.embedded.child import serve
from deploy.loading import users_code
from deploy.registry.opening import open_registry
from deploy.registry.storage.home import Home

MODULE = "deploy.backtest.worker"


class Work(Struct, frozen=True, kw_only=True):
    """What a worker does: `path` is the pipeline.py, `home` where its registry is, and `span` what is told."""

    path: str
    settings: Settings
    home: Home
    policies: list[Policy]
    span: Span
    out: str


def do(work: Work) -> None:
    """Decide, and write down what came of it."""
    keys = work.settings.registry
    with users_code(work.path):
        pipeline = pipelines.load(Path(work.path))
        registry = open_registry(work.home, keys.key, keys.trusted)
        found = decide(pipeline, work.settings, registry, work.policies, work.span)
    Path(work.out).write_bytes(msgspec.json.encode(found))


if __name__ == "__main__":
    sys.exit(serve(Work, do, lambda _: None))
