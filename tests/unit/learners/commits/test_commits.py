"""A commit grows as a draft; what a later commit takes back is taken out of it."""

import hashlib

import msgspec
from msgspec import Raw

from learners.commits import commit as commits
from learners.commits.commit import Commit, Doubted, Quarantined, Run
from learners.commits.draft import Draft, after
from learners.commits.voids import ALL, Bounds, Slot, lowered, remaining, remains, runs, slots
from learners.labels.holds import Hold
from streams.events import WAITING, encode
from tests import small

START = "0-0"
FIRST = Commit(
    number=0,
    parent="",
    learned=0,
    samples=[],
    runs=[],
    batches=[],
    shadow=[],
    intercept=(0.0,),
    positions={},
    watermark_ms=5,
    latest_ms=0,
    fingerprint="",
    state="a digest",
)


SAMPLES = [encode(one) for one in small.samples(5)]
MARK = encode(msgspec.structs.replace(small.samples(6)[5], kind=WAITING))


def grown() -> tuple[Draft, Commit]:
    """Return a draft that follows FIRST, and the commit that it becomes: samples of shards 0, 1, 0 in two batches."""
    draft, learner = after(commits.encode(FIRST), range(2), START), small.learner()
    draft.add([Slot(0, 1), Slot(0, 2), Slot(1, 1)], SAMPLES[:3], [[0.1], [0.2], [0.3]], latest_ms=9)
    draft.add([Slot(0, 3), Slot(0, 4)], SAMPLES[3:], [[0.4], [0.5]], latest_ms=7)
    draft.quarantined.append(Quarantined(shard=0, position="5-e", reason="a test", sample="{}"))
    draft.positions |= {0: "5-e", 1: "1-a"}
    learner.learned = 5
    return draft, draft.finish(learner, None, {}, {})


def test_a_draft_becomes_the_commit_of_what_was_added_in_the_order_learned() -> None:
    draft, commit = grown()
    assert draft.began_s > 0
    assert (commit.number, commit.learned, commit.watermark_ms, commit.latest_ms) == (1, 5, 5, 9)
    assert commit.parent == hashlib.sha256(commits.encode(FIRST)).hexdigest()
    assert commit.samples == [Raw(one) for one in SAMPLES]
    assert commit.runs == [Run(0, 1, 2), Run(1, 1, 1), Run(0, 3, 2)]
    assert (commit.batches, commit.shadow) == ([3, 2], [[0.1], [0.2], [0.3], [0.4], [0.5]])
    assert commit.positions == {"0": "5-e", "1": "1-a"}


def test_a_draft_begins_where_the_commit_before_ended() -> None:
    _, commit = grown()
    draft = after(commits.encode(commit), range(3), START)
    assert draft.positions == {0: "5-e", 1: "1-a", 2: START}
    assert (draft.last.number, draft.samples, draft.runs, draft.watermark_ms) == (1, [], [], 5)


def test_slots_and_runs_are_each_others_inverse() -> None:
    chosen = [Slot(0, 1), Slot(0, 2), Slot(1, 3), Slot(0, 3), Slot(0, 5)]
    assert runs(chosen) == [Run(0, 1, 2), Run(1, 3, 1), Run(0, 3, 1), Run(0, 5, 1)]
    assert list(slots(msgspec.structs.replace(FIRST, runs=runs(chosen)))) == chosen


def test_what_is_void_is_taken_out_of_a_commit_and_its_state_with_it() -> None:
    _, commit = grown()
    rest = remaining(commit, Bounds({0: 1}))
    assert rest.samples == [Raw(SAMPLES[0]), Raw(SAMPLES[2])]
    assert (rest.batches, rest.shadow) == ([2], [[0.1], [0.3]])
    assert rest.runs == [Run(0, 1, 1), Run(1, 1, 1)]
    assert (rest.positions, rest.quarantined, rest.state) == ({"1": "1-a"}, [], None)


def test_what_is_doubted_stays_in_its_commit_and_is_held_but_not_where_it_was_released() -> None:
    _, commit = grown()
    bounds = lowered(ALL, {}, [Doubted("north", "why", [Run(0, 2, 2)])])
    rest = remaining(commit, bounds)
    assert rest.held == [Hold(1, "north", "why"), Hold(3, "north", "why")]
    assert (rest.samples, rest.positions, rest.quarantined) == (commit.samples, commit.positions, commit.quarantined)
    assert (rest.shadow, rest.state) == ([[0.1], [0.3], [0.5]], None)
    assert rest.read() == [one for at, one in enumerate(commit.entries()) if at in (0, 2, 4)]
    released = remaining(msgspec.structs.replace(commit, released=2), bounds)
    assert [hold.at for hold in released.held] == [3]
    later = remaining(commit, lowered(ALL, {}, [Doubted("north", "why", [Run(0, 6, 1)])]))
    assert later is commit
    both = remaining(commit, lowered(bounds, {"0": "2-b"}))
    assert (both.read(), both.shadow) == ([commit.entries()[0], commit.entries()[2]], [[0.1], [0.3]])


def test_a_mark_has_its_place_among_the_samples_and_no_answer() -> None:
    draft = after(commits.encode(FIRST), range(1), START)
    draft.add([Slot(0, n) for n in range(1, 5)], [SAMPLES[0], MARK, SAMPLES[1], MARK], [[0.1], [0.2]], latest_ms=9)
    draft.positions[0] = "4-d"
    commit = draft.finish(small.learner(), None, {}, {})
    assert (draft.learned, commit.batches, commit.runs) == (2, [4], [Run(0, 1, 4)])
    assert [one.kind for one in commit.entries()] == ["joined", WAITING, "joined", WAITING]
    assert commit.read() == small.samples(2)
    rest = remaining(commit, Bounds({0: 2}))
    assert (rest.samples, rest.shadow, rest.batches) == ([Raw(SAMPLES[0]), Raw(MARK)], [[0.1]], [2])


def test_a_commit_of_which_nothing_is_void_is_the_same() -> None:
    _, commit = grown()
    assert remaining(commit, Bounds({0: 5, 1: 1})) is commit


def test_an_earlier_void_may_leave_less_and_never_more() -> None:
    bounds = lowered(lowered(ALL, {"0": "4-d"}), {"0": "7-x", "1": "2-b"})
    assert bounds.last == {0: 4, 1: 2}
    assert lowered(bounds, {"0": "3-c"}).last == {0: 3, 1: 2}
    assert [remains(Slot(0, n), bounds) for n in (4, 5)] == [True, False]
    assert remains(Slot(2, 99), bounds)
