"""How far a pipeline or a join without a model is that runs in another process.

Owns finding it. Does not know tables.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

from deploy.config import Settings
from deploy.doubts import Judge
from deploy.monitor import Monitor, View, look
from deploy.operate.attach import Attached, attach
from deploy.run import view
from streams.errors import ConfigError, ShadowstreamError
from streams.kafka import Tp
from streams.kafka.held import held
from streams.kafka.topics import look as look_at

SILENT_S = 10.0  # of a run, which writes once a second; beginning Ray anew takes it several
AGAIN_S = 1.0  # a transaction that is open for longer is no ordinary one


def status(path: Path, settings: Settings) -> View | view.JoinView:
    """Look once at a running pipeline, or at a join of a feed of which nothing is learned.

    Raises:
        ConfigError: the store holds nothing of this feed, or its services have no address.
    """
    with looking(path, settings) as looks:
        return looks()


@contextmanager
def looking(path: Path, settings: Settings) -> Iterator[Callable[[], View | view.JoinView]]:
    """Connect once, and yield what takes a look as `status` does, as often as it is called, by one thread at a time."""
    with attach(path, settings) as attached:
        judge = Judge(attached.feed.name, attached.readers, attached.settings.join)
        monitor: Monitor | None = None

        def looks() -> View | view.JoinView:
            nonlocal monitor
            if monitor is None and (registry := attached.registry) is not None:
                monitor = Monitor(judge, attached.store, registry, settings.serve.servers)
            return _joined(path, attached, judge) if monitor is None else _run(attached, monitor)

        yield looks


def silence(seen: View) -> str:
    """Return what to say of a run that has said nothing for too long, else ""."""
    if seen.pulse is None or seen.pulse_s <= SILENT_S:
        return ""
    return f"the run has said nothing for {seen.pulse_s:.0f} s: it has ended, or hangs"


def _run(attached: Attached, monitor: Monitor) -> View:
    seen, (pulse, old_s) = look(attached.feed.name, monitor), monitor.pulse()
    seen = msgspec.structs.replace(seen, held=_held(attached), pulse=pulse, pulse_s=round(old_s, 3))
    trouble = (silence(seen),) if silence(seen) else pulse.trouble if pulse else ()
    return msgspec.structs.replace(seen, trouble=tuple(trouble))


def _joined(path: Path, attached: Attached, judge: Judge) -> view.JoinView:
    if not attached.store.there(attached.feed.name, 0):
        raise ConfigError(
            f"the store holds nothing of {attached.feed.name}; start it by `shadowstream run {path}`, or, without "
            f"a model, by `shadowstream join {path}`"
        )
    shards = view.states(attached.store, judge)
    return view.look(shards, judge(attached.store, shards), attached.feed.name, 0.0, _held(attached))


def _held(attached: Attached) -> list[str]:
    """Return a line for each partition that an open transaction holds; a broker that does not answer tells nothing."""
    with suppress(ShadowstreamError):
        requests = attached.settings.topics.named(attached.feed.name).requests
        topic = look_at(attached.broker, [requests])[requests]
        tps = [*attached.tps, *(Tp(requests, n) for n in range(topic.partitions if topic else 0))]
        before = {(one.topic, one.partition, one.offset) for one in held(attached.broker, tps)}
        if before:
            time.sleep(AGAIN_S)
            found = held(attached.broker, tps)
            return [one.line for one in found if (one.topic, one.partition, one.offset) in before]
    return []
