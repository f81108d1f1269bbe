"""How a feed is joined: windows, bounds and batch sizes, each with its unit in the name."""

import msgspec

from streams.errors import ConfigError

DAY_S = 86_400


class JoinPolicy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The join's settings; `shards` is fixed when the feed is created.

    An outcome is on time if its own time is at most the prediction's plus `window_s`. A settled id is remembered for
    `keep_s` after that. `slack_s` is how far a partition may be out of order before the watermark counts an event late.
    """

    shards: int = 1
    window_s: float = 2 * DAY_S
    keep_s: float = 7 * DAY_S
    slack_s: float = 0.0
    max_ahead_s: float = 3_600.0
    idle_s: float = 10.0
    align_s: float = DAY_S  # how far a partition may run ahead of the watermark before it is paused
    batch_events: int = 2_000  # a script call of 2,000 events blocks the store for about 10 ms
    batch_bytes: int = 1 << 20
    stream_bound: int = 20_000  # samples that wait for the learner before the joiner pauses

    def __post_init__(self) -> None:
        for name, least in (("shards", 1), ("batch_events", 1), ("batch_bytes", 1 << 10), ("stream_bound", 1)):
            if getattr(self, name) < least:
                raise ConfigError(f"join.{name} must be at least {least}, got {getattr(self, name)}")
        for name in ("window_s", "keep_s", "slack_s", "max_ahead_s", "idle_s", "align_s"):
            if getattr(self, name) < 0:
                raise ConfigError(f"join.{name} must not be negative, got {getattr(self, name)}")
