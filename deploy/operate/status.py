"""How far a pipeline or a join without a model is that runs in another process.

Owns finding it. Does not know tables.
"""

from pathlib import Path

from deploy.config import Settings
from deploy.doubts import Judge
from deploy.monitor import Monitor, View, look
from deploy.operate.attach import attach
from deploy.run import view
from streams.errors import ConfigError


def status(path: Path, settings: Settings) -> View | view.JoinView:
    """Look once at a running pipeline, or at a join of a feed of which nothing is learned.

    Raises:
        ConfigError: the store holds nothing of this feed, or its services have no address.
    """
    with attach(path, settings) as attached:
        judge = Judge(attached.feed.name, attached.readers, attached.settings.join)
        if attached.registry is not None:
            return look(attached.feed.name, Monitor(judge, attached.store, attached.registry))
        if not attached.store.there(attached.feed.name, 0):
            raise ConfigError(
                f"the store holds nothing of {attached.feed.name}; start it by `shadowstream run {path}`, or, without "
                f"a model, by `shadowstream join {path}`"
            )
        shards = view.states(attached.store, judge)
        return view.look(shards, judge(attached.store, shards), attached.feed.name, 0.0)
