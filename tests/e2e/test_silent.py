"""A run of a feed in which silence is the negative: a window that closes without an outcome teaches 0, and a late
outcome corrects it.
"""

from collections import Counter
from pathlib import Path

import pytest

from deploy.registry.commits import backwards
from deploy.registry.registry import Registry
from streams.events import CORRECTION, NEGATIVE, WAITING
from tests import late
from tests.e2e.test_loop import result, start

PREDICTIONS, MEAN_MS = 3_000, (1, 8 * late.HOUR_MS)  # of the delays; those of label 0 are never told
PIPELINE = f"""
from dataclasses import replace
from shadowstream import Promotion
from tests import late

def feed():
    return late.events(late.asked({PREDICTIONS}, mean_ms={MEAN_MS}), silent=True)

pipeline = replace(late.pipeline(0), name="silent", feed=feed, promotion=Promotion(every_days=20))
"""
SETTINGS = {
    "SHADOWSTREAM_JOIN_WINDOW_S": str(12 * 3_600),
    "SHADOWSTREAM_JOIN_KEEP_S": str(6 * 86_400),
    "SHADOWSTREAM_JOIN_ABSENT": "negative",
    "SHADOWSTREAM_JOIN_LATE": "correct",
    "SHADOWSTREAM_REPLAY_LEAD_S": "21600",
    "SHADOWSTREAM_LEARN_COMMIT_S": "0.05",
}


@pytest.mark.long
def test_silence_is_learned_as_a_negative_and_corrected(tmp_path: Path) -> None:
    (pipeline := tmp_path / "pipeline.py").write_text(PIPELINE)
    summary = result(start(tmp_path, pipeline, **SETTINGS), tmp_path)
    given = late.asked(PREDICTIONS, mean_ms=MEAN_MS)
    commits = reversed(list(backwards(Registry(tmp_path / "silent"))))
    entries = [one for commit in commits for one in commit.entries() if one.kind != WAITING]
    kinds = Counter(one.kind for one in entries)
    assert summary["balanced"]
    assert summary["lost"] == summary["doubled"] == 0
    assert summary["samples"] == len(entries) == PREDICTIONS + kinds[CORRECTION]
    assert kinds[NEGATIVE] > kinds[CORRECTION] > PREDICTIONS / 20
    labels = {one.id: one.label for one in entries}  # the last of each
    assert [labels[f"id-{n}"] for n in range(PREDICTIONS)] == [one.label for one in given]
    asked = {one.id: one.prediction for one in entries}
    served = late.figures(given, [asked[f"id-{n}"].served[0] for n in range(PREDICTIONS)])
    assert served.ratio == pytest.approx(1, abs=0.1)
    assert summary["candidates"] > 0
