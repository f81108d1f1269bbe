"""What an operator does to a join from another process: end its feed, accept a loss.

Owns the steps of each action, and the note that it leaves. Does not know the commands' arguments, nor who answers.
"""

from collections.abc import Callable
from pathlib import Path

from deploy.config import Settings
from deploy.operate.attach import Attached, attach, note
from deploy.registry.kinds import ACCEPT_LOSS, END_OF_FEED
from deploy.run.partitions import catch_up
from streams.errors import ConfigError
from streams.join.lost import accept, find
from streams.kafka import Tp
from streams.kafka.records import tp_name
from streams.kafka.topics import owner

Ask = Callable[[str], bool]  # asks a yes-or-no question


def end_feed(path: Path, settings: Settings, *, why: str, who: str | None = None, ask: Ask) -> None:
    """Declare that no more events come: the joiners close every window once they have read all.

    Raises:
        ConfigError: there is no reason, or the answer was no.
    """
    with attach(path, settings) as attached:
        said = note(END_OF_FEED, who, why)
        catch_up(attached.feed.name, attached.settings, attached.store)  # the end covers new partitions, too
        windows = sum(attached.store.shard(attached.feed.name, shard).windows for shard in range(attached.shards))
        _agreed(
            ask, f"end the feed {attached.feed.name!r}? {windows:,} open windows close; later events are not joined"
        )
        for shard in range(attached.shards):
            attached.store.close_feed(attached.feed.name, shard, said)


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
    """Go on after records that retention removed before they were read; `partition` is TOPIC:PARTITION.

    Raises:
        ConfigError: nothing is lost, there is no such partition or reason, or the answer was no.
        LogReplaced: the partition holds another log than the one that was read.
    """
    with attach(path, settings) as attached:
        tp = _partition(attached, partition)
        attached.store.check_owner(attached.feed.name, owner(attached.broker, {one.topic for one in attached.tps}))
        states = [attached.store.shard(attached.feed.name, shard) for shard in range(attached.shards)]
        with attached.source([tp]) as source:
            loss = find(states, source, tp, attached.readers, attached.rules)
        said = note(ACCEPT_LOSS, who, why, partition=loss.tp, **{"from": loss.start, "to": loss.end})
        _agreed(
            ask,
            f"{loss.tp}: {loss.lost:,} records between {loss.start} and {loss.end} are lost. Go on without them?",
        )
        accept(attached.store, attached.feed.name, loss, attached.rules, said)
    say(f"{loss.tp}: {loss.lost:,} counted as lost. Start the run again if it ended with exit code 4")


def _partition(attached: Attached, partition: str) -> Tp:
    for tp in attached.tps:
        if tp_name(tp) == partition:
            return tp
    raise ConfigError(f"--partition must be one of {', '.join(map(tp_name, attached.tps))}; got {partition!r}")


def _agreed(ask: Ask, question: str) -> None:
    if not ask(question):
        raise ConfigError("the answer was no; nothing was changed")
