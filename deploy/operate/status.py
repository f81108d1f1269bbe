"""How far a feed is that runs in another process.

Does not know how that is shown.
"""

from pathlib import Path

from deploy.config import Settings
from deploy.monitor import Monitor, View, look
from deploy.operate.attach import opened
from streams.errors import ConfigError


def status(path: Path, settings: Settings) -> View:
    """Look once at a running pipeline.

    Raises:
        ConfigError: the registry's folder holds nothing of this pipeline, or its services are not known.
    """
    with opened(path, settings) as place:
        if place.registry is None:
            raise ConfigError(f"{place.folder} holds nothing that was learned; `shadowstream run {path}` begins it")
        return look(place.feed.name, Monitor(place.feed.name, place.shards, place.store, place.registry))
