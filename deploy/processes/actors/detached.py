"""What outlives the process that has started it, on a cluster: the supervisor of a feed, and its roles, by their names.

Owns the names, the supervisor's actor, and finding it from elsewhere. Does not know what a supervisor does: a function
that it is given the name of.
"""

import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

import ray
from ray.exceptions import RayError

from deploy.config import Settings
from deploy.processes.nodes.code import FOLDER
from deploy.processes.nodes.node import NAMESPACE
from streams.errors import ConfigError, InUse, RayUnreachable, ShadowstreamError

OUTLIVES: dict[str, Any] = {"lifetime": "detached", "namespace": NAMESPACE, "get_if_exists": True}
SUPERVISOR = "supervisor"
OUTPUTS = (1, 2)
MOST_BYTES = 1 << 20  # of one answer
ANSWER_S = 120.0  # a process that begins imports torch first
STOP_S = 120.0  # how long a supervisor may take to end its roles
LOOK_S = 0.5


def name_of(feed: str, role: str) -> str:
    """Return the name of a role's actor, or of the supervisor's."""
    return f"{feed}/{role}"


def printed(after: tuple[int, ...]) -> tuple[tuple[int, ...], str]:
    """Return what this process has printed after so many bytes of its outputs, and how many there are now."""
    ends, texts = [], []
    for output, start in zip(OUTPUTS, after or (0, 0), strict=True):
        with Path(f"/proc/self/fd/{output}").readlink().open("rb") as file:
            file.seek(start)
            said = file.read(MOST_BYTES)
        ends.append(start + len(said))
        texts.append(said.decode(errors="replace"))
    return tuple(ends), "".join(texts)


class Supervisor:
    """Calls a function in a thread: `module:function`, of the pipeline's file, the settings, what says to stop, and
    another registry to begin from, if any.
    """

    def __init__(self, function: str, pipeline: str, settings: Settings, source: str | None) -> None:
        module, _, name = function.partition(":")
        self._stopped, self._state = threading.Event(), ""
        self._work = getattr(import_module(module), name)
        self._registry = settings.registry.path
        self._arguments = (Path(FOLDER) / pipeline, settings, self._stopped, source)
        self._thread = threading.Thread(target=self._run, daemon=True, name=SUPERVISOR)
        self._thread.start()

    def ended(self) -> str | None:
        """Return why it has ended, "" where it was stopped; None while it has not."""
        return None if self._thread.is_alive() else self._state

    def registry(self) -> str:
        """Return where the feed's registry is."""
        return self._registry

    def stop(self) -> None:
        """Let it end."""
        self._stopped.set()

    def log(self, after: tuple[int, ...]) -> tuple[tuple[int, ...], str]:
        """Return what this process has printed after so many bytes of its outputs, and how many there are now."""
        return printed(after)

    def _run(self) -> None:
        try:
            self._work(*self._arguments)
        except ShadowstreamError as wrong:
            self._state = str(wrong)
            print(f"the run has ended: {wrong}", flush=True)  # noqa: T201 this is its log
        except Exception as wrong:
            self._state = f"{type(wrong).__name__}: {wrong}"
            raise


_Remote: Any = ray.remote(num_cpus=0, max_restarts=-1, max_concurrency=4)(Supervisor)


def begin(feed: str, function: str, pipeline: str, settings: Settings, source: str | None = None) -> bool:
    """Start a feed's supervisor; return False where one works already. One that has ended makes place for another.

    Raises:
        InUse: there is one of this name that has another registry.
    """
    if (found := _supervisor(feed, settings)) is not None:
        if _asked(found.ended.remote()) is None:
            return False
        ray.kill(found)
    for _ in range(int(ANSWER_S / LOOK_S)):
        if _found(feed, SUPERVISOR) is None:
            break
        time.sleep(LOOK_S)
    made = _Remote.options(name=name_of(feed, SUPERVISOR), **OUTLIVES).remote(function, pipeline, settings, source)
    _asked(made.ended.remote())
    return True


def end(feed: str, settings: Settings) -> bool:
    """End a feed's supervisor and its roles, in order; return False where there was none.

    Raises:
        InUse: what runs under this name has another registry.
    """
    supervisor = _supervisor(feed, settings)
    if supervisor is not None:
        _asked(supervisor.stop.remote())
        deadline = time.monotonic() + STOP_S
        while _asked(supervisor.ended.remote()) is None and time.monotonic() < deadline:
            time.sleep(LOOK_S)
        ray.kill(supervisor)
    left = [name for name in _names() if name.startswith(name_of(feed, "")) and name != name_of(feed, SUPERVISOR)]
    for name in left:  # of a supervisor that was lost
        with suppress(ValueError):  # it has ended meanwhile
            ray.kill(ray.get_actor(name, NAMESPACE))
    return supervisor is not None or bool(left)


def log(feed: str, role: str, *, follow: bool) -> Iterator[str]:
    """Yield what a role, or the supervisor, has printed since its process began, and with `follow` what it prints next.

    Raises:
        ConfigError: no such role is there.
    """
    after: tuple[int, ...] = ()
    while True:
        if (found := _found(feed, role)) is None:
            there = sorted(name.partition("/")[2] for name in _names() if name.startswith(name_of(feed, "")))
            raise ConfigError(
                f"feed {feed!r} has no {role!r} on the cluster; it has {', '.join(there) or 'nothing there'}"
            )
        after, text = _asked(found.log.remote(after))
        if text:
            yield text
        elif not follow:
            return
        else:
            time.sleep(LOOK_S)


def _names() -> list[str]:
    listed = ray.util.list_named_actors(all_namespaces=True)
    return [str(one["name"]) for one in listed if one["namespace"] == NAMESPACE]


def _found(feed: str, role: str) -> Any:
    """Return an actor's handle, None where there is none."""
    try:
        return ray.get_actor(name_of(feed, role), NAMESPACE)
    except ValueError:
        return None


def _supervisor(feed: str, settings: Settings) -> Any:
    """Return the handle of a feed's supervisor, None where there is none.

    Raises:
        InUse: it has another registry, and so is another feed's of the same name.
    """
    found, ours = _found(feed, SUPERVISOR), settings.registry.path
    if found is not None and (theirs := _asked(found.registry.remote())) != ours:
        raise InUse(
            f"the cluster has a detached run of another feed {feed!r}: its registry is {theirs}, and registry.path is "
            f"{ours}. Set registry.path to that of the feed that you mean; for another feed set another name"
        )
    return found


def _asked(call: Any) -> Any:
    try:
        return ray.get(call, timeout=ANSWER_S)
    except RayError as wrong:
        raise RayUnreachable(f"an actor of the cluster does not answer: {str(wrong).splitlines()[0]}") from None
