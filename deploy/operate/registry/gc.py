"""What a feed's registry keeps and for what, and the sweep of what nothing needs.

Owns finding the registry. Does not know what goes (deploy/registry/gc.py), or tables.
"""

from pathlib import Path

from deploy.config import Settings
from deploy.feed import load
from deploy.registry.gc.sweep import Kept, look, sweep
from deploy.registry.registry import Registry, begun
from deploy.registry.storage.home import home
from streams.errors import ConfigError


def collect(path: Path, settings: Settings, *, apply: bool = False) -> Kept:
    """Return what a pipeline's registry keeps and what goes; with `apply` they are deleted.

    Raises:
        ConfigError: nothing was learned here.
        RegistryError, CommitError: a commit is damaged or missing.
    """
    at = home(settings.registry.path, load(path).name)
    if not begun(at):
        raise ConfigError(f"{at} has no commit: use the working directory of the run, or its registry.path")
    return (sweep if apply else look)(Registry(at))
