"""A run's figures: what was published must be found again, whatever died in between."""

import msgspec
from torch import nn

from compressors.artifact.format import Description
from deploy.engine import Running
from deploy.registry.learned import Learned
from deploy.run.summary import Balance, Published, Speed, Speeds, Summary, speeds, summarize
from tests.unit.deploy.console.views import shard, view

DESCRIBED = Description(
    digest="",
    format=3,
    bytes=1_000,
    float_bytes=4_000,
    sparsity=0.5,
    sparsity_all=0.5,
    weights={},
    left={},
    manifest={},
)


SPEEDS = Speeds(3, "mixed, by onnxruntime", 0.0019, [Speed(1, 20.0, 50.0), Speed(512, 200.0, 320.0)])


def summary(*, refused: int, late: int = 3, **seen: object) -> Summary:
    """Return the figures of 100 requests, 7 of them unreadable, and 80 outcomes, 2 of them unreadable and 3 late."""
    counters = {"predictions": 93, "outcomes": 78, "joined": 75, "unlabelled": 18, "late": late}
    learned = Learned(samples=75, doubled=0, shards={0: 75}, held={}, quarantined=[])
    shards, published = [shard(rejected=2, **counters)], Published(100, 80, refused, {"not JSON": refused + 2}, 2.0)
    return summarize(view(**seen), Balance(shards, learned, []), published, DESCRIBED, SPEEDS)


def test_what_was_refused_is_not_lost() -> None:
    made = summary(refused=7)
    assert (made.lost, made.requests, made.predictions, made.events_per_second) == (0, 100, 93, 90.0)
    assert (made.refused, made.rejected) == (7, 2)


def test_what_is_found_nowhere_is_lost() -> None:
    assert summary(refused=6).lost == 1
    assert summary(refused=7, late=1).lost == 2


def test_a_negative_has_no_outcome_and_a_correction_no_request_of_its_own() -> None:
    counters = {"joined": 30, "negative": 70, "corrected": 10}
    learned = Learned(samples=110, doubled=0, shards={0: 110}, held={}, quarantined=[])
    balance = Balance([shard(rejected=0, **counters)], learned, [])
    assert summarize(view(), balance, Published(100, 40, 0, {}, 2.0), DESCRIBED, SPEEDS).lost == 0
    assert summarize(view(), balance, Published(101, 42, 0, {}, 2.0), DESCRIBED, SPEEDS).lost == 3


def test_a_version_that_brings_an_earlier_artifact_back_is_a_rollback() -> None:
    first, second = view().champions
    back = msgspec.structs.replace(first, number=2, back_to=0)
    made = summary(refused=7, champions=[first, second, back])
    assert (made.promotions, made.rollbacks) == (1, 1)
    assert summary(refused=7).rollbacks == 0


def test_the_served_version_is_compared_with_float_torch() -> None:
    assert summary(refused=7).speedup == {"1": 2.5, "512": 1.6}
    assert summary(refused=7).engine == "mixed, by onnxruntime"
    assert (
        SPEEDS.line
        == "v3, mixed, by onnxruntime: 2.5, 1.6 times float32 torch at 1, 512 rows; 0.0019 from the artifact's answers"
    )


def test_without_a_row_nothing_is_timed_and_the_line_says_so() -> None:
    made = speeds(0, Running(nn.Linear(1, 1), None, "torch"), nn.Linear(1, 1), None)
    assert made.line == "v0, torch: not timed, as no row was learned and there is no history"
