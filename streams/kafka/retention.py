"""What a topic's settings mean for a join: whether records may be removed before they are read or a rebuild needs them.

Owns the rules. Knows no broker: `admin.py` asks one.
"""

from collections.abc import Mapping
from typing import NamedTuple

from streams.errors import ConfigError


class TopicSettings(NamedTuple):
    """What a broker reports of a topic; -1 means unlimited, None that the broker did not report it.

    `timestamps` is CreateTime or LogAppendTime; both work, because event times have a header of their own.
    `record_bytes` is the largest record that it takes.
    """

    retention_ms: int | None = None
    retention_bytes: int | None = None
    compacted: bool | None = None
    timestamps: str | None = None
    record_bytes: int | None = None


def check(
    settings: Mapping[str, TopicSettings], *, window_s: float, keep_s: float, slack_s: float, align_s: float
) -> list[str]:
    """Return a warning for each topic that keeps too little to verify a join or to rebuild it.

    Raises:
        ConfigError: a topic would lose records that were not read yet.
    """
    least_s, wanted_s = align_s + slack_s, window_s + keep_s + slack_s
    warnings = []
    for topic, of in settings.items():
        _check_safe(topic, of, least_s)
        kept_s = _kept_s(of)
        if kept_s is not None and kept_s < wanted_s:
            warnings.append(
                f"topic {topic!r} keeps {kept_s:g} s, less than window + keep + slack ({wanted_s:g} s): older events "
                f"can be neither verified nor rebuilt from Kafka; set retention.ms to {_ms(wanted_s)} or -1"
            )
        if of.retention_bytes is not None and of.retention_bytes >= 0:
            warnings.append(
                f"topic {topic!r} keeps {of.retention_bytes} bytes a partition, read or not; set retention.bytes=-1"
            )
    return warnings


def check_written(settings: Mapping[str, TopicSettings]) -> None:
    """Check topics that we write: samples and dead letters are found again by position, each of them.

    Raises:
        ConfigError: a topic is compacted.
    """
    for topic, of in settings.items():
        if of.compacted:
            raise ConfigError(
                f"topic {topic!r} is compacted: of samples with one id, or a letter and its mark, only the last would "
                "stay; set cleanup.policy=delete"
            )


def _check_safe(topic: str, of: TopicSettings, least_s: float) -> None:
    if of.compacted:
        raise ConfigError(
            f"topic {topic!r} is compacted: what compaction removes is lost to the join; set cleanup.policy=delete"
        )
    kept_s = _kept_s(of)
    if kept_s is not None and kept_s < least_s:
        raise ConfigError(
            f"topic {topic!r} keeps {kept_s:g} s, less than align + slack ({least_s:g} s): a paused partition would "
            f"lose records; set retention.ms to at least {_ms(least_s)}, or lower join.align_s"
        )


def _kept_s(of: TopicSettings) -> float | None:
    """Return the retention; None if it is unlimited or unknown."""
    return None if of.retention_ms is None or of.retention_ms < 0 else of.retention_ms / 1_000


def _ms(seconds: float) -> int:
    return round(seconds * 1_000)
