"""What a topic's settings do to a join: whether records can go before they are read, or before a rebuild needs them.

Owns the rules. Knows no broker: `streams.kafka.topic_settings` asks one.
"""

from collections.abc import Mapping
from typing import NamedTuple

from streams.errors import ConfigError


class TopicSettings(NamedTuple):
    """What a broker tells of a topic; -1 is unlimited, None was not told.

    `timestamps` is CreateTime or LogAppendTime; both are fine, for event times have a header of their own.
    """

    retention_ms: int | None = None
    retention_bytes: int | None = None
    compacted: bool | None = None
    timestamps: str | None = None


def check(
    settings: Mapping[str, TopicSettings], *, window_s: float, keep_s: float, slack_s: float, align_s: float
) -> list[str]:
    """Give a warning for each topic that keeps too little to verify or to rebuild from.

    Raises:
        ConfigError: a topic would lose records that were not read yet.
    """
    least_s, wanted_s = align_s + slack_s, window_s + keep_s + slack_s
    warnings = []
    for topic, told in settings.items():
        _safe(topic, told, least_s)
        kept_s = _kept_s(told)
        if kept_s is not None and kept_s < wanted_s:
            warnings.append(
                f"topic {topic!r} keeps {kept_s:g} s, less than window + keep + slack ({wanted_s:g} s): older events "
                f"can be neither verified nor rebuilt from Kafka; set retention.ms to {_ms(wanted_s)} or -1"
            )
        if told.retention_bytes is not None and told.retention_bytes >= 0:
            warnings.append(
                f"topic {topic!r} keeps {told.retention_bytes} bytes a partition, read or not; set retention.bytes=-1"
            )
    return warnings


def _safe(topic: str, told: TopicSettings, least_s: float) -> None:
    if told.compacted:
        raise ConfigError(
            f"topic {topic!r} is compacted: what compaction removes is lost to the join; set cleanup.policy=delete"
        )
    kept_s = _kept_s(told)
    if kept_s is not None and kept_s < least_s:
        raise ConfigError(
            f"topic {topic!r} keeps {kept_s:g} s, less than align + slack ({least_s:g} s): a paused partition would "
            f"lose records; set retention.ms to at least {_ms(least_s)}, or lower join.align_s"
        )


def _kept_s(told: TopicSettings) -> float | None:
    """Give the finite retention, if it is known."""
    return None if told.retention_ms is None or told.retention_ms < 0 else told.retention_ms / 1_000


def _ms(seconds: float) -> int:
    return round(seconds * 1_000)
