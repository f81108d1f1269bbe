"""How far a pipeline is that runs in another process.

Owns finding it. Does not know tables.
"""

from pathlib import Path

from deploy.config import Settings
from deploy.monitor import Monitor, View, look
from deploy.operate.attach import attach
from streams.errors import ConfigError


def status(path: Path, settings: Settings) -> View:
    """Look once at a running pipeline.

    Raises:
        ConfigError: the registry's folder holds nothing of this pipeline, or its services have no address.
    """
    with attach(path, settings) as attached:
        if attached.registry is None:
            raise ConfigError(
                f"{attached.folder} holds nothing that was learned; start it by `shadowstream run {path}`"
            )
        return look(attached.feed.name, Monitor(attached.feed.name, attached.shards, attached.store, attached.registry))
