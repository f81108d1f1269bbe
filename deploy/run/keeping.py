"""How much of the log a run keeps, by `registry.keep_samples`, and what of it the broker must no longer have.

Owns the settings that contradict one another there, and asking the broker for its oldest event. Does not know what is
let go (deploy/registry/gc/choosing.py).
"""

from contextlib import closing
from functools import partial

from deploy.config import Settings
from deploy.learning.syncs import WARM_UP
from deploy.pipeline import Pipeline
from deploy.registry.gc.choosing import Keeping
from learners.labels.running import BACK
from streams.errors import ConfigError
from streams.join.batch import LAST_TIME_MS, Readers, decode
from streams.join.step import Rules
from streams.kafka import Source, Tp, partition_counts, topic_settings
from streams.kafka.reading.scan import scan

LOOKED_AT = 1_000  # of the oldest records of a partition: those that cannot be read tell no time
NEVER_MS = 1 << 62  # where the broker has no event at all
COSTS = (
    "registry.keep_samples = {:,}: older samples are let go, once a day; no rebuild, audit, void or forget reaches "
    "behind them, and the pipeline's model, features and recipe stay as they are"
)


def keeping(pipeline: Pipeline, settings: Settings) -> Keeping | None:
    """Return what stays of a pipeline's log; None where all of it does. `settings` have the broker's address.

    Raises:
        ConfigError: fewer samples are to be kept than something needs.
    """
    kept = settings.registry.keep_samples
    if kept is None:
        return None
    needed = {"the distiller's replay (Online.replay)": pipeline.online.replay}
    if pipeline.promotion.sync_ms:
        needed["what an average's intercept starts from (Promotion(policy='continuous'))"] = WARM_UP
    if pipeline.trust:
        needed["what a doubt of a source goes back (Pipeline.trust)"] = BACK
    for what, least in needed.items():
        if kept < least:
            raise ConfigError(
                f"registry.keep_samples = {kept} is less than {what}, {least} samples: set it to at least {least}, or "
                "leave it out, and all samples are kept"
            )
    rules, readers = Rules.of(settings.join), pipeline.as_feed().readers(settings.topics.named(pipeline.name))
    oldest = partial(oldest_ms, settings, readers, rules)
    return Keeping(kept, pipeline.online.replay, rules.window_ms + rules.keep_ms, oldest)


def check_retention(settings: Settings, feed: str) -> None:
    """Check that the broker removes old events, too, where old samples are let go.

    Raises:
        ConfigError: a topic keeps all of its events: a store that is lost would join them again, and double them.
    """
    topics, rules = settings.topics.named(feed), Rules.of(settings.join)
    for name, of in topic_settings(settings.kafka, (topics.predictions, topics.outcomes)).items():
        if of.retention_ms is not None and of.retention_ms < 0 and (of.retention_bytes or -1) < 0:
            raise ConfigError(
                f"registry.keep_samples = {settings.registry.keep_samples} and topic {name!r} with retention.ms = -1: "
                "a store that is lost joins all events of the topic again, also those whose samples were let go, so "
                "none could be; set the topic's retention.ms to at least the join's window and keep "
                f"({rules.window_ms + rules.keep_ms}), or leave registry.keep_samples out"
            )


def oldest_ms(settings: Settings, readers: Readers, rules: Rules) -> int | None:
    """Return the event time of the oldest event that the broker has of those that are joined.

    It is `NEVER_MS` where there is none, and None where a partition's oldest records cannot be read.

    Raises:
        BrokerUnreachable: it does not answer.
    """
    joined = (readers.predictions, readers.outcomes)
    counts = partition_counts(settings.kafka, joined)
    tps, oldest = [Tp(topic, n) for topic in joined for n in range(counts[topic])], NEVER_MS
    with closing(Source(settings.kafka, tps)) as source:
        starts, ends = source.starts(), source.ends()
        ranges = {tp: (starts[tp], min(ends[tp], starts[tp] + LOOKED_AT)) for tp in tps if starts[tp] < ends[tp]}
        unread = set(ranges)
        for polled in scan(source, ranges):
            if times := decode(polled, readers, settings.join.shards, rules, LAST_TIME_MS).times:
                unread.discard(polled.tp)
                oldest = min(oldest, *times)
    slack_ms = round(1_000 * settings.join.slack_s)
    return None if unread else oldest if oldest == NEVER_MS else oldest - slack_ms
