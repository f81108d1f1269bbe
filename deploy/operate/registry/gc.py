"""What a feed's registry keeps and for what, and the sweep of what nothing needs.

Owns finding the registry. Does not know what goes (deploy/registry/gc.py), or tables.
"""

from importlib import import_module
from pathlib import Path
from typing import cast

from deploy.config import Settings
from deploy.feed import load
from deploy.operate.attach import attach
from deploy.registry.gc.sweep import Kept, look, sweep
from deploy.registry.opening import open_registry
from deploy.registry.registry import Registry, begun
from deploy.registry.storage.home import home
from streams.errors import ConfigError


def collect(path: Path, settings: Settings, *, apply: bool = False) -> Kept:
    """Return what a pipeline's registry keeps and what goes; with `apply` they are deleted.

    Old samples go by `registry.keep_samples`, for which the broker is asked for its oldest event: none where it does
    not answer.

    Raises:
        ConfigError: nothing was learned here; with `registry.keep_samples`, as `keeping`.
        RegistryError, CommitError: a commit is damaged or missing.
    """
    at = home(settings.registry.path, load(path).name)
    if not begun(at):
        raise ConfigError(f"{at} has no commit: use the working directory of the run, or its registry.path")
    does = sweep if apply else look
    if settings.registry.keep_samples is None:
        return does(Registry(at))
    kept, pipeline = import_module("deploy.run.keeping"), import_module("deploy.pipeline").load(path)  # need torch

    def oldest_ms() -> int | None:
        with attach(path, settings) as attached:
            return cast(int | None, kept.keeping(pipeline, attached.settings).oldest_ms())

    keeping = kept.keeping(pipeline, settings)._replace(oldest_ms=oldest_ms)
    return does(open_registry(at, settings.registry.key, settings.registry.trusted), keeping=keeping)
