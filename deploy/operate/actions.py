"""What an operator does to a join from another process: end its feed, accept a loss.

Owns the order of each action, and the note that it leaves. Does not know the commands' arguments, nor who answers.
"""

from collections.abc import Callable
from pathlib import Path

from deploy.config import Settings
from deploy.operate.attach import Place, note, opened
from deploy.registry.kinds import ACCEPT_LOSS, END_OF_FEED
from deploy.run.partitions import catch_up
from streams.errors import ConfigError
from streams.join.lost import accept, find
from streams.kafka import Tp
from streams.kafka.records import tp_name

Ask = Callable[[str], bool]  # asks a yes-or-no question


def end_feed(path: Path, settings: Settings, *, why: str, who: str | None = None, ask: Ask) -> None:
    """Say that no more events come: the joiners close every window once they have read all.

    Raises:
        ConfigError: there is no reason, or the answer was no.
    """
    with opened(path, settings) as place:
        said = note(END_OF_FEED, who, why)
        catch_up(place.feed.name, place.settings, place.store)  # what is in partitions just added belongs to it
        windows = sum(place.store.shard(place.feed.name, shard).windows for shard in range(place.shards))
        _agreed(
            ask, f"end the feed {place.feed.name!r}? {windows:,} open windows close; what comes later is not joined"
        )
        for shard in range(place.shards):
            place.store.close_feed(place.feed.name, shard, said)


def accept_loss(
    path: Path,
    settings: Settings,
    partition: str,
    *,
    why: str,
    who: str | None = None,
    ask: Ask,
    say: Callable[[str], None],
) -> None:
    """Go on after what retention removed before it was read; `partition` is TOPIC:NUMBER.

    Raises:
        ConfigError: nothing is lost, there is no such partition or reason, or the answer was no.
        LogReplaced: the partition holds another log than the one that was read.
    """
    with opened(path, settings) as place:
        tp = _partition(place, partition)
        states = [place.store.shard(place.feed.name, shard) for shard in range(place.shards)]
        with place.source([tp]) as source:
            loss = find(states, source, tp, place.readers, place.rules)
        said = note(ACCEPT_LOSS, who, why, partition=loss.tp, **{"from": loss.start, "to": loss.end})
        _agreed(ask, f"{loss.tp}: {loss.lost:,} of the positions {loss.start} to {loss.end} are lost. Go on without?")
        accept(place.store, place.feed.name, loss, place.rules, said)
    say(f"{loss.tp}: {loss.lost:,} counted as lost. Joiners that ended with exit code 4 must be started again")


def _partition(place: Place, partition: str) -> Tp:
    for tp in place.tps:
        if tp_name(tp) == partition:
            return tp
    raise ConfigError(f"--partition must be one of {', '.join(map(tp_name, place.tps))}; got {partition!r}")


def _agreed(ask: Ask, question: str) -> None:
    if not ask(question):
        raise ConfigError("nothing was done")
