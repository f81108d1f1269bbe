"""A drill through the whole loop: shuffled, what serves is refused by the gate; forced to serve, it is taken back."""

from pathlib import Path

import msgspec
import pytest

from deploy.config import Registry as Folder
from deploy.config import Settings
from deploy.operate.versions.drill import drill
from deploy.registry.kinds import CANDIDATES, CHAMPIONS, VERDICTS
from deploy.registry.registry import Registry
from deploy.registry.reigns import barred
from learners.evaluation.verdict import Decision
from tests.e2e.test_loop import PIPELINE, check, counted, result, start, wait_for

BRIEF = f"""
from dataclasses import replace
from itertools import takewhile
from pathlib import Path
from deploy.pipeline import load

flights = load(Path({str(PIPELINE)!r}))

def feed():
    return takewhile(lambda event: event.t_ms < 1_360_454_400_000, flights.feed())  # 10 February 2013, 00:00 UTC

pipeline = replace(flights, feed=feed)
"""


@pytest.mark.long
def test_a_shuffled_model_is_refused_and_one_that_is_forced_is_taken_back(tmp_path: Path) -> None:
    settings = msgspec.structs.replace(Settings(), registry=Folder(path=str(tmp_path)))
    (pipeline := tmp_path / "pipeline.py").write_text(BRIEF)
    process = start(tmp_path, pipeline)
    wait_for(process, tmp_path, tmp_path / "slice" / "tail" / "000000000003")
    refused = drill(pipeline, settings, serve=False)
    wait_for(process, tmp_path, VERDICTS.path(tmp_path / "slice", refused.number))
    forced = drill(pipeline, settings, serve=True, seed=1)
    summary = result(process, tmp_path)
    check(summary, counted(pipeline))
    assert summary["rollbacks"] == 1
    registry = Registry(tmp_path / "slice")
    verdict, champions = registry.record(VERDICTS, refused.number), list(registry.records(CHAMPIONS))
    assert verdict is not None
    assert verdict.decision is Decision.FUTILE
    bad = next(one for one in champions if one.candidate == forced.number)
    back = champions[bad.number + 1]
    assert (bad.by, back.back_to, back.by) == ("drill", bad.number - 1, "shadowstream")
    assert back.artifact == champions[bad.number - 1].artifact
    assert forced.artifact in barred(champions)
    assert forced.artifact not in {one.artifact for one in champions[back.number :]}
    assert registry.last(CANDIDATES) >= forced.number
