"""The newest look, for whoever fetches it: a run's own, or one that is taken when it is asked for.

Owns since when it is too old. Does not know how a look is taken.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Lock

import msgspec

from deploy.config import Settings, listening
from deploy.console.metrics.families import Seen
from deploy.console.metrics.server import serving
from deploy.console.metrics.text import name_of, text
from deploy.monitor import View
from deploy.operate.status import SILENT_S, looking, silence
from streams.errors import ShadowstreamError


class Latest:
    """A run's own newest look.

    >>> latest = Latest()
    >>> latest.unwell()
    'no look has been taken yet'
    """

    def __init__(self) -> None:
        self._seen: tuple[Seen, float] | None = None

    def show(self, look: Seen) -> None:
        """Keep a look."""
        self._seen = look, time.monotonic()

    def metrics(self) -> str:
        """Return it as text, "" before the first."""
        if self._seen is None:
            return ""
        look, at_s = self._seen
        if isinstance(look, View):
            look = msgspec.structs.replace(look, pulse_s=time.monotonic() - at_s)
        return text(name_of(look), look)

    def unwell(self) -> str:
        """Return why the run does not go on, "" if it does."""
        if self._seen is None:
            return "no look has been taken yet"
        silent_s = time.monotonic() - self._seen[1]
        return f"the last look was {silent_s:.0f} s ago" if silent_s > SILENT_S else ""


@contextmanager
def fetched(listen: str | None) -> Iterator[Latest]:
    """Yield where a run's looks go, and answer with the newest at `listen` until the `with` ends; None: nowhere."""
    latest = Latest()
    if listen is None:
        yield latest
        return
    with serving(listening(listen, "metrics.listen"), latest.metrics, latest.unwell):
        yield latest


class Looks:
    """Looks at a feed of another process, each when it is asked for; connects again after one that failed."""

    def __init__(self, path: Path, settings: Settings, feed: str) -> None:
        self._path, self._settings, self._feed = path, settings, feed
        self._lock, self._undo = Lock(), ExitStack()
        self._look: Callable[[], Seen] | None = None

    def take(self) -> Seen:
        """Return a look; raises what `status` raises."""
        with self._lock:
            try:
                if self._look is None:
                    self._look = self._undo.enter_context(looking(self._path, self._settings))
                return self._look()
            except ShadowstreamError:
                self._close()
                raise

    def metrics(self) -> str:
        """Return a look as text, and where none can be taken, that."""
        try:
            return text(self._feed, self.take())
        except ShadowstreamError:
            return text(self._feed, None)

    def unwell(self) -> str:
        """Return why the run or its store does not go on, "" if it does."""
        try:
            look = self.take()
        except ShadowstreamError as wrong:
            return str(wrong)
        return silence(look) if isinstance(look, View) else ""

    def close(self) -> None:
        """Disconnect."""
        with self._lock:
            self._close()

    def _close(self) -> None:
        self._undo.close()
        self._look = None
