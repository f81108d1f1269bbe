"""Signing what is in a registry, on a person's word: a feed of an earlier release, or after a key was changed.

Owns which feed that is. What a signature is of is `deploy/registry/seals.py`'s.
"""

from pathlib import Path

from deploy import feed
from deploy.config import Settings
from deploy.registry import opening
from deploy.registry.registry import Registry, begun
from deploy.registry.storage.home import home
from streams.errors import ConfigError


def opened(path: Path, settings: Settings) -> Registry:
    """Open the registry of a pipeline with the keys of the settings.

    Raises:
        ConfigError: it has none here, or a key cannot be read.
    """
    at = home(settings.registry.path, feed.load(path).name)
    if not begun(at):
        raise ConfigError(f"{at} has no version: use the working directory of the run, or its registry.path")
    return opening.open_registry(at, settings.registry.key, settings.registry.trusted)
