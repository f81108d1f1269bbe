"""When a feed has settled: what is looked at before a role has begun, too."""

from msgspec.structs import replace

from deploy.monitor import Progress
from deploy.registry.notes import EvaluatorNote, LearnerNote, ServerNote
from streams.join.step import ShardState
from streams.join.store import NOTHING

EMPTY = ShardState(
    seq=0,
    chain="",
    watermark_ms=0,
    now_ms=0,
    last_id=NOTHING,
    unread=0,
    ending=False,
    windows=0,
    markers=0,
    due=0,
    counters={},
    partitions={},
)
TOLD = LearnerNote(0, (0.0,), {}, 0, 0)  # by the first version, before the learner has begun


def settled(shard: ShardState, learner: LearnerNote) -> bool:
    server, evaluator = ServerNote({}, {}, 0, 0), EvaluatorNote(0, 0, 0, ())
    return Progress([shard], server, learner, None, evaluator, None).settled({})


def test_a_sample_that_no_learner_has_read_yet_is_waited_for() -> None:
    joined = replace(EMPTY, seq=1, last_id="1-1")
    assert settled(EMPTY, TOLD)
    assert not settled(joined, TOLD)
    assert settled(joined, replace(TOLD, positions={"0": "1-1"}))
