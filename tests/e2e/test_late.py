"""A run of a feed whose positives come in an hour and negatives in ten days: what waits is marked, the chain learns it,
and what all experts say is served.
"""

from collections import Counter
from pathlib import Path

import pytest
import torch

from deploy.learning.candidates import make_learner
from deploy.pipeline import load
from deploy.registry import rebuild
from deploy.registry.commits import backwards
from deploy.registry.kinds import CHAMPIONS, VERDICTS
from deploy.registry.records import Evidence
from deploy.registry.registry import Registry
from learners.evaluation.verdict import Decision
from streams.events import WAITING, Prediction
from tests import late
from tests.e2e.test_loop import check, counted, result, start

PREDICTIONS = 4_000
PIPELINE = f"from tests import late\n\npipeline = late.pipeline({PREDICTIONS})\n"
SETTINGS = {
    "SHADOWSTREAM_JOIN_WINDOW_S": str(60 * 86_400),
    "SHADOWSTREAM_REPLAY_LEAD_S": "21600",
    "SHADOWSTREAM_LEARN_COMMIT_S": "0.05",
}


@pytest.mark.long
def test_late_outcomes_are_waited_for_and_what_all_experts_say_is_served(tmp_path: Path) -> None:
    (pipeline := tmp_path / "pipeline.py").write_text(PIPELINE)
    summary = result(start(tmp_path, pipeline, **SETTINGS), tmp_path)
    check(summary, counted(pipeline))
    torch.set_num_threads(1)  # as the learner does
    registry = Registry(tmp_path / "late")
    assert rebuild.check(make_learner(load(pipeline), registry), registry).equal
    entries = [one for commit in backwards(registry) for one in commit.entries()]
    marks = Counter(entry.revision for entry in entries if entry.kind == WAITING)
    assert marks[0] > marks[7] > 0
    told = {entry.id: entry.prediction for entry in entries if entry.kind != WAITING}
    asked = [told[f"id-{n}"] for n in range(PREDICTIONS)]
    assert _share(asked[-1_000:]) == 1
    given = late.asked(PREDICTIONS)
    chain, served, at_once = (
        late.figures(given, logits)
        for logits in (
            [one.experts[late.CHAIN] for one in asked],
            [one.served[0] for one in asked],
            [one.bare[0] for one in asked],
        )
    )
    assert chain.ratio == pytest.approx(1, abs=0.08)
    assert served.loss < at_once.loss - 0.04  # version 0, which is untrained, has a quarter of the answer at first


def _share(asked: list[Prediction]) -> float:
    """Return for how many the chain has spoken, and others than the version and it were heard."""
    spoke = [
        one.experts[late.CHAIN] is not None and one.answer not in ((), one.output, (one.experts[late.CHAIN],))
        for one in asked
    ]
    return sum(spoke) / len(spoke)


@pytest.mark.long
def test_outcomes_after_ten_days_promote(tmp_path: Path) -> None:
    """A candidate every four days: none waits for another, and the first is proven once its outcomes are there."""
    pipeline = Path(__file__).parent / "slice" / "late.py"
    times = {"SHADOWSTREAM_JOIN_WINDOW_S": str(14 * 86_400), "SHADOWSTREAM_REPLAY_LEAD_S": "21600"}
    check(result(start(tmp_path, pipeline, **times), tmp_path), counted(pipeline))
    registry = Registry(tmp_path / "late")
    _, promoted, *_ = registry.records(CHAMPIONS)
    evidence = promoted.evidence
    assert isinstance(evidence, Evidence)
    assert evidence.against[0].champion == 0
    assert evidence.days > 10
    assert promoted.candidate is not None
    verdict = registry.record(VERDICTS, promoted.candidate)
    assert verdict is not None
    assert verdict.decision is Decision.PROVEN
