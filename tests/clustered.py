"""A pipeline or feed in a folder of its own, its roles on a cluster of `nodes.py`: its commands, looks and load."""

import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from deploy import config
from deploy.monitor import View
from deploy.operate.join.audit import inspect
from deploy.operate.status import status
from deploy.run.view import JoinView
from streams.errors import ShadowstreamError
from streams.kafka import ensure_topics
from tests.cases.join import until
from tests.conftest import Running
from tests.e2e.test_run_partitions import KINDS, publish
from tests.nodes import Nodes

PIPELINE = """
from dataclasses import replace
from tests import small

pipeline = replace(small.pipeline, name="{name}")
"""
SETTINGS = """
[kafka]
bootstrap = "{broker}"
[redis]
url = "{store}"
[registry]
path = "{registry}"
shared = true
[ray]
address = "{ray}"
"""


class Clustered:
    """A file in a folder, with the settings for a cluster, a broker and a store; `more` are further tables of these."""

    def __init__(
        self, file: Path, text: str, cluster: Nodes, broker: Running, store: Running, registry: Path, more: str = ""
    ) -> None:
        self.file, self._broker, self._cluster = file, broker.address, cluster
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        toml = file.with_name("shadowstream.toml")
        own = SETTINGS.format(broker=broker.address, store=store.address, registry=registry, ray=cluster.address)
        toml.write_text(own + more)
        self.settings = config.load(toml, {})

    @contextmanager
    def begun(self, *words: str, plain: bool = False) -> Iterator["subprocess.Popen[str]"]:
        """Yield a command about the file, which is killed in the end; a `plain` one shows no token."""
        line = [sys.executable, "-m", "shadowstream", words[0], self.file.name, *words[1:]]
        process = subprocess.Popen(
            line,
            cwd=self.file.parent,
            env=self._cluster.plain if plain else self._cluster.environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        try:
            yield process
        finally:
            process.kill()
            process.wait()

    def said(self, *words: str, code: int = 0, plain: bool = False) -> str:
        """Return what a command prints until it ends, in one line."""
        with self.begun(*words, plain=plain) as process:
            said, _ = process.communicate()
        assert process.returncode == code, said
        return " ".join(said.split())

    def publish(self, name: str, numbers: range) -> None:
        """Publish requests of a pipeline with one partition each, and their outcomes."""
        topics = {kind: f"{name}.{kind}" for kind in KINDS}
        counts = dict.fromkeys(KINDS, 1)
        ensure_topics(self._broker, dict.fromkeys(topics.values(), 1))
        publish(self._broker, topics, counts, numbers)

    def learned(self, count: int, of: "subprocess.Popen[str] | None" = None) -> View:
        """Return a look once so many samples are learned and all roles answer; `of` is the run that must not end."""

        def enough(view: object) -> bool:
            if not isinstance(view, View) or view.learned < count:
                return False
            return view.pulse_s < 3 and all(pids(view).values())

        view = self._look(enough, of)
        assert isinstance(view, View)
        return view

    def joined(self, count: int, of: "subprocess.Popen[str]") -> None:
        """Wait until a join without a model has made so many samples; `of` is its command, which must not end."""
        self._look(lambda view: isinstance(view, JoinView) and view.samples >= count, of)

    def audit(self) -> None:
        """Check that the audit balances."""
        inspect(self.file, self.settings, compare=True).check()

    def _look(
        self, enough: Callable[[View | JoinView | None], bool], of: "subprocess.Popen[str] | None"
    ) -> View | JoinView | None:
        """Return the first look of which `enough` is true."""
        found: list[View | JoinView | None] = []

        def seen() -> bool:
            assert of is None or of.poll() is None, of.stdout and of.stdout.read()
            found[:] = [self._seen()]
            return enough(found[0])

        until(seen, lambda: str(found))
        return found[0]

    def _seen(self) -> View | JoinView | None:
        try:
            return status(self.file, self.settings)
        except ShadowstreamError:  # it begins
            return None


def pids(view: View) -> dict[str, int]:
    """Return the process id of each role, 0 where it does not run."""
    return {one.role: one.pid for one in view.pulse.roles} if view.pulse else {"": 0}
