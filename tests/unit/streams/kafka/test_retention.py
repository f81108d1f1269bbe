"""What a topic's settings mean for a join: an error, a warning, or nothing."""

import pytest

from streams.errors import ConfigError
from streams.kafka.retention import TopicSettings, check, check_written

DAY_MS = 86_400_000


def checked(**known: int | bool | str) -> list[str]:
    """Check a join with a window of two days, that remembers for seven, with a day between its partitions."""
    day_s = 86_400.0
    settings = {"bids": TopicSettings(**known)}  # type: ignore[arg-type]
    return check(settings, window_s=2 * day_s, keep_s=7 * day_s, slack_s=0.5 * day_s, align_s=day_s)


@pytest.mark.parametrize(
    "known",
    [
        {},
        {"retention_ms": -1, "retention_bytes": -1, "compacted": False, "timestamps": "CreateTime"},
        {"retention_ms": 9 * DAY_MS + DAY_MS // 2, "timestamps": "LogAppendTime"},
    ],
)
def test_what_keeps_enough_or_says_nothing_is_fine(known: dict[str, int]) -> None:
    assert checked(**known) == []


def test_less_than_a_rebuild_needs_is_warned_of() -> None:
    (warning,) = checked(retention_ms=9 * DAY_MS)
    assert "'bids' keeps 777600 s, less than window + keep + slack (820800 s)" in warning
    assert "retention.ms to 820800000 or -1" in warning
    assert checked(retention_ms=DAY_MS * 3 // 2) != []


def test_a_bound_in_bytes_is_warned_of() -> None:
    (warning,) = checked(retention_bytes=1_000)
    assert "'bids' keeps 1000 bytes a partition" in warning
    assert "retention.bytes=-1" in warning


def test_less_than_a_paused_partition_needs_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"'bids' keeps 129599 s, less than align \+ slack \(129600 s\)"):
        checked(retention_ms=DAY_MS * 3 // 2 - 1_000)


def test_compaction_is_refused_with_what_would_be_right() -> None:
    with pytest.raises(ConfigError, match=r"'bids' is compacted.*cleanup\.policy=delete"):
        checked(compacted=True, retention_ms=-1)


def test_topics_that_we_write_are_not_compacted() -> None:
    check_written({"ads.dead": TopicSettings(compacted=False), "ads.samples": TopicSettings()})
    with pytest.raises(ConfigError, match=r"topic 'ads.dead' is compacted.*cleanup.policy=delete"):
        check_written({"ads.dead": TopicSettings(compacted=True)})
