"""A run that outlives the command that began it: its supervisor is an actor of the cluster.

Owns what such a run may be, and the supervisor's work. Does not know how actors are found:
`deploy/processes/actors/detached.py`.
"""

import threading
from collections.abc import Iterator
from pathlib import Path

from deploy import feed
from deploy.config import Settings
from deploy.pipeline import load
from deploy.processes.roles import names
from deploy.registry.storage.home import home
from deploy.run.begun import place
from deploy.run.nodes import everywhere, on_cluster, with_ray
from deploy.run.partitions import Say
from deploy.run.running import running
from streams.errors import ConfigError, ShadowstreamError

RETRY_S = 5.0
WORK = "deploy.run.detached:supervise"


def check(settings: Settings) -> None:
    """Check that a run of these settings can outlive its command.

    Raises:
        ConfigError: it cannot; the text says what would be right.
    """
    if settings.ray.cluster is None:
        raise ConfigError(
            "--detach needs a Ray cluster: set ray.address; on one machine have systemd, or whatever begins your "
            "services, call `shadowstream run`"
        )
    if settings.kafka.bootstrap is None or settings.redis.embedded:
        raise ConfigError(
            "--detach needs a broker and a store that outlive the command: set kafka.bootstrap and redis.url"
        )
    if settings.metrics.listen is not None:
        raise ConfigError(
            f"--detach and metrics.listen = {settings.metrics.listen!r}: the supervisor may be on any node; take "
            "it out, and have `shadowstream metrics --listen` answer"
        )


def begin(path: Path, settings: Settings, say: Say, source: str | None = None) -> bool:
    """Begin a run that outlives this process; return False where there is one already.

    `source` is as of `running`; a folder must be there on all nodes.

    Raises:
        ConfigError: the settings do not allow it, or nothing was learned at `source`.
        InUse: there is one of another feed of this name.
        RayUnreachable: the cluster does not answer.
    """
    check(settings)
    settings, name = everywhere(settings), load(path).name
    source = None if source is None else place(source).address
    with on_cluster(path, settings, names(settings), home(settings.registry.path, name), say):
        return bool(with_ray("actors.detached", settings).begin(name, WORK, path.name, settings, source))


def end(path: Path, settings: Settings) -> bool:
    """End such a run, from wherever; return False where there is none.

    Raises:
        ConfigError: no cluster is given.
        InUse: what runs under this name is another feed's.
        RayUnreachable: the cluster does not answer.
    """
    name, settings = feed.load(path).name, everywhere(_given(settings))
    with with_ray("nodes.node", settings).visited(settings):
        return bool(with_ray("actors.detached", settings).end(name, settings))


def log(path: Path, settings: Settings, role: str, *, follow: bool) -> Iterator[str]:
    """Yield what a role has printed since its process began; with `follow` also what it prints next, without an end.

    Raises:
        ConfigError: no cluster is given, or there is no such role.
        RayUnreachable: the cluster does not answer.
    """
    name = feed.load(path).name
    with with_ray("nodes.node", _given(settings)).visited(settings):
        yield from with_ray("actors.detached", settings).log(name, role, follow=follow)


def supervise(path: Path, settings: Settings, stopped: threading.Event, source: str | None = None) -> None:
    """Run a pipeline until it is stopped; where a retry helps, it is tried again.

    Raises:
        ShadowstreamError: what a person must resolve.
    """
    while not stopped.is_set():
        try:
            with running(path, settings, _say, fresh=False, detached=True, source=source) as session:
                for _ in session.live():
                    if stopped.is_set():
                        return
        except ShadowstreamError as wrong:
            if not wrong.retry_helps:
                raise
            _say(f"{wrong}; trying again in {RETRY_S:g} s")
            stopped.wait(RETRY_S)


def _given(settings: Settings) -> Settings:
    if settings.ray.cluster is None:
        raise ConfigError("a detached run is on a Ray cluster: set ray.address to that of its head")
    return settings


def _say(line: str) -> None:
    print(line, flush=True)  # noqa: T201 this is the supervisor's log
