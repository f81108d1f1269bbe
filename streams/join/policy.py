"""How a feed is joined: what is emitted when, windows, bounds and batch sizes, each with its unit in its name."""

from typing import Literal

import msgspec

from streams.errors import ConfigError

DAY_S = 86_400
MOST_SHARDS = 16_384


class JoinPolicy(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The join's settings; `shards` is fixed when the feed is created. Each key by itself is checked here.

    An outcome is on time if its own time is at most the prediction's plus `window_s`. When a window closes without one,
    `absent` says what that means: nothing (the prediction is counted as unlabelled), or the label `negative_label`,
    which an outcome that arrives within `keep_s` corrects. `emit` says when a joined pair is emitted: at once, or when
    its window closes, in prediction order and together with the negatives of that time; the default is `at_close` where
    absence is a negative. `at_close` reduces several outcomes, at most `most_outcomes`, to one label by `reduce`.
    At most `most_early` outcomes of a shard wait for a prediction that has not come; more are refused. `late` says
    what an outcome after the deadline does: it is only counted, or it corrects the negative. A settled id is
    remembered for `keep_s`. `slack_s` is how far out of order a partition may be before an event counts as late.
    """

    shards: int = 1
    joiners: int = 1  # processes that share the partitions
    emit: Literal["at_once", "at_close"] | None = None
    absent: Literal["unlabelled", "negative"] = "unlabelled"
    negative_label: float = 0.0
    reduce: Literal["first", "last", "sum", "list"] = "first"
    most_outcomes: int = 64
    most_early: int = 1_000_000  # of a shard: 200 MB or so
    late: Literal["count", "correct"] = "count"
    window_s: float = 2 * DAY_S
    keep_s: float = 7 * DAY_S
    slack_s: float = 0.0
    max_ahead_s: float = 3_600.0
    idle_s: float = 10.0
    align_s: float = DAY_S  # how far a partition may run ahead of the watermark before it is paused
    batch_events: int = 2_000  # a script call of 2,000 events blocks the store for about 10 ms
    batch_bytes: int = 1 << 20
    stream_bound: int = 20_000  # samples; with more of them unread the joiner pauses

    def __post_init__(self) -> None:
        least = {"shards": 1, "joiners": 1, "batch_events": 1, "batch_bytes": 1 << 10, "stream_bound": 1}
        for name, bound in (least | {"most_outcomes": 1, "most_early": 1, "window_s": 0.001}).items():
            if getattr(self, name) < bound:
                raise ConfigError(f"join.{name} must be at least {bound}, got {getattr(self, name)}")
        if self.shards > MOST_SHARDS:
            raise ConfigError(f"join.shards must be at most {MOST_SHARDS:,}, a cluster's slots; got {self.shards}")
        for name in ("keep_s", "slack_s", "max_ahead_s", "idle_s", "align_s"):
            if getattr(self, name) < 0:
                raise ConfigError(f"join.{name} must not be negative, got {getattr(self, name)}")

    @property
    def final_s(self) -> float:
        """How old a prediction is when no outcome can change its label any more."""
        return self.window_s + (self.keep_s if self.absent == "negative" else 0.0)

    @property
    def at_close(self) -> bool:
        """Whether a joined pair waits until its window closes."""
        return (self.emit or ("at_close" if self.absent == "negative" else "at_once")) == "at_close"
