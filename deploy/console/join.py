"""What one sees of a join without a model: a live line in a terminal, plain lines elsewhere, and the summary.

Owns words and layout. Does not know where the figures come from.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from msgspec import Struct
from rich.console import Console
from rich.live import Live
from rich.text import Text

from deploy.console.terminal import day
from streams.join.step import ShardState

PLAIN_EVERY_S = 5.0


class JoinView(Struct, frozen=True, kw_only=True):
    """One look at a join, summed over its shards; the last one is its summary.

    `events` are those that were read, `rejected` went to the dead letters, `waiting` predictions have an open window,
    `samples` were emitted, of which `unread` are not written yet (or read, where they stay in the stream); `lag_ms` is
    how far the watermark is behind the newest event.
    """

    feed: str
    at_ms: int
    lag_ms: int
    events: int
    rejected: int
    predictions: int
    outcomes: int
    joined: int
    negative: int
    corrected: int
    unlabelled: int
    waiting: int
    samples: int
    unread: int
    seconds: float


def look(feed: str, shards: Sequence[ShardState], seconds: float) -> JoinView:
    """Sum the shards up."""
    positions = [at for shard in shards for at in shard.positions.values()]
    at_ms, watermark_ms = max(at.t_ms for at in positions), min(shard.watermark_ms for shard in shards)
    counted = {
        name: sum(shard.counters[name] for shard in shards)
        for name in ("predictions", "outcomes", "joined", "negative", "corrected", "unlabelled", "waiting")
    }
    return JoinView(
        feed=feed,
        at_ms=max(at_ms, 0),
        lag_ms=max(0, at_ms - watermark_ms) if watermark_ms > 0 else 0,
        events=sum(at.records for at in positions),
        rejected=sum(at.rejected for at in positions),
        samples=sum(shard.seq for shard in shards),
        unread=sum(shard.unread for shard in shards),
        seconds=round(seconds, 3),
        **counted,
    )


def line(view: JoinView) -> str:
    """Say where the join stands."""
    rejected = f", {view.rejected:,} rejected" if view.rejected else ""
    return (
        f"{view.feed} at {day(view.at_ms)}: {view.events:,} events{rejected}, {view.waiting:,} waiting, "
        f"{view.samples:,} samples, {view.unread:,} unread, lag {view.lag_ms / 1_000:,.0f} s"
    )


@contextmanager
def shown(console: Console) -> Iterator[Callable[[str], None]]:
    """Give what shows a line: in place in a terminal, now and then elsewhere."""
    if console.is_terminal:
        with Live(console=console, refresh_per_second=4, transient=True) as live:
            yield lambda text: live.update(Text(text))
        return
    last = [0.0]

    def show(text: str) -> None:
        if time.monotonic() - last[0] >= PLAIN_EVERY_S:
            last[0] = time.monotonic()
            console.print(text, highlight=False, soft_wrap=True)

    yield show
