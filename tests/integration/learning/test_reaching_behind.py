"""What reaches behind the commit at which the log begins says so in one line, and what can be had instead."""

from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from deploy.operate.versions import lineage
from deploy.operate.versions.forget import forget
from deploy.operate.versions.versions import remake
from deploy.registry.commits import read
from deploy.registry.gc.sweep import sweep
from deploy.registry.kinds import CANDIDATES, COMMITS, EVALUATOR
from deploy.registry.states.beside import States
from streams.errors import ConfigError
from streams.join.store import Store
from tests import small
from tests.integration.learning import test_versions
from tests.integration.learning.test_letting_go import KEPT, seal
from tests.integration.learning.test_versions import Grown
from tests.learned import PIPELINE, Feed

REPLAYS = "pipeline = replace(pipeline, online=replace(pipeline.online, replay=40))\n"


def test_commands_that_reach_behind_the_begin_say_so(
    embedded_store: Store, first: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(States, "due", True)
    replays = replace(PIPELINE, online=replace(PIPELINE.online, replay=40))
    monkeypatch.setattr(test_versions, "Feed", partial(Feed, pipeline=replays))
    monkeypatch.setattr(test_versions, "FILE", f"{test_versions.FILE}{REPLAYS}")
    feed = Grown(embedded_store, first, tmp_path, small.samples(240), part=20, every_days=2)
    registry, candidates = feed.registry, [*feed.registry.records(CANDIDATES)]
    early, late = candidates[0].number + 1, candidates[-1].number + 1
    registry.folds(EVALUATOR.name).keep(
        registry.last(COMMITS), registry.read(COMMITS, registry.last(COMMITS)) or b"", b""
    )
    seal(registry)
    sweep(registry, keeping=KEPT)
    begins = registry.begins()
    assert candidates[0].commit < begins < candidates[-1].commit
    said = f"the log begins at commit {begins}: "
    assert lineage.begins(feed.path, feed.settings).startswith(said)
    with pytest.raises(
        ConfigError, match=rf"version {early} was made of commit .*{said}.* made again: .*v{late}"
    ) as at:
        remake(feed.path, feed.settings, early)
    assert at.value.exit_code == 2
    for full in (False, True):
        remake(feed.path, feed.settings, late, full=full).check()
    shown = lineage.show(feed.path, feed.settings, early)
    assert (shown.chain, shown.begins, shown.log) == (None, begins, {})
    assert lineage.show(feed.path, feed.settings, late).chain == candidates[-1].commit - begins
    old, new = feed.feed.log[0].id, read(registry, begins + 1).read()[0].id
    with pytest.raises(ConfigError, match=rf"no sample of .*; or {said}"):
        lineage.find(feed.path, feed.settings, old)
    with pytest.raises(ConfigError, match=rf"1 of these ids are in no commit that is left.*{said}"):
        forget(feed.path, feed.settings, late, frozenset({old, new}), out=tmp_path / "out")
    assert forget(feed.path, feed.settings, late, frozenset({new}), out=tmp_path / "out").receipt.samples == 1
