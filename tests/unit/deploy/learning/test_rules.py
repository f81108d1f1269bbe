"""When a draft is committed, and when a candidate is due."""

import msgspec
import pytest
import torch

from deploy.learning.rules import DAY_MS, CommitRules
from learners.commits.commit import Commit, Due, Quarantined
from learners.commits.draft import Draft
from learners.commits.voids import Slot
from learners.online.gap import PATIENCE_MS, Gap

NEVER_S = 1e9
NOON_MS = 100 * DAY_MS + DAY_MS // 2
LAST = Commit(
    number=0, parent="", learned=0, samples=[], runs=[], batches=[], shadow=[], intercept=(0.0,), positions={},
    watermark_ms=NOON_MS, latest_ms=0, fingerprint="",
)  # fmt: skip


def draft(samples: int = 1, after_ms: int = 0, last: Commit = LAST) -> Draft:
    """Return a draft of so many samples, whose watermark has passed `after_ms` since noon."""
    made = Draft(last, "", {}, NOON_MS + after_ms)
    if samples:
        made.add([Slot(0, n) for n in range(samples)], [b"{}"] * samples, [[0.0]] * samples, 0)
    return made


def test_a_draft_is_committed_when_it_has_enough_samples() -> None:
    rules = CommitRules(3, NEVER_S, every_days=1)
    assert [rules.full(draft(n)) for n in range(5)] == [False, False, False, True, True]


def test_a_draft_is_committed_when_the_watermark_reaches_a_new_day_unless_it_is_empty() -> None:
    rules = CommitRules(3, NEVER_S, every_days=1)
    half = DAY_MS // 2
    assert [rules.full(draft(1, after_ms)) for after_ms in (half - 1, half)] == [False, True]
    assert not rules.full(draft(0, half))


def test_a_draft_is_committed_when_it_is_old_enough() -> None:
    young, old = draft(), draft()
    old.began_s -= 1_000
    rules = CommitRules(3, 900, every_days=1)
    assert [rules.full(young), rules.full(old)] == [False, True]


def test_marks_are_no_samples_and_are_committed_in_time() -> None:
    marks = draft()
    marks.add([Slot(0, n) for n in range(5)], [b"{}"] * 5, [], 0)
    rules = CommitRules(3, 900, every_days=1)
    assert not rules.full(marks)
    marks.began_s -= 1_000
    assert rules.full(marks)


def test_a_quarantined_sample_is_committed_at_once() -> None:
    only = draft(0)
    only.quarantined.append(Quarantined(shard=0, position="1-a", reason="a test", sample="{}"))
    assert CommitRules(3, NEVER_S, every_days=1).full(only)


@pytest.mark.parametrize(("every_days", "after_ms"), [(1, DAY_MS // 2), (0.25, DAY_MS // 4), (101, DAY_MS // 2)])
def test_a_candidate_is_due_at_each_multiple_of_the_step(every_days: float, after_ms: int) -> None:
    rules = CommitRules(3, NEVER_S, every_days)
    assert rules.due(draft(after_ms=after_ms - 1)) is None
    assert rules.due(draft(after_ms=after_ms)) == Due("schedule", NOON_MS + after_ms)


def test_a_drift_makes_one_due_before_its_time_but_no_more_in_a_year_than_allowed() -> None:
    gap = Gap()
    gap.follow([1], [1], torch.zeros(1), torch.zeros(1))
    gap.hear(1, 7)
    gap.follow([8], [1 + PATIENCE_MS], torch.zeros(1), torch.zeros(1))
    off, on = CommitRules(3, NEVER_S, every_days=1), CommitRules(3, NEVER_S, every_days=1, drift_a_year=1)
    assert off.due(draft(), gap) is None
    assert on.due(draft(), gap) == Due("drift", NOON_MS, 7)
    assert on.due(draft(after_ms=DAY_MS), gap) == Due("drift", NOON_MS + DAY_MS, 7)  # one candidate for both reasons
    gap.make(7)
    gap.hear(2, 9)
    gap.follow([10], [1 + 2 * PATIENCE_MS], torch.zeros(1), torch.zeros(1))
    assert gap.due_ms == 9
    assert on.due(draft(), gap) is None


def test_no_candidate_is_due_before_anything_was_learned() -> None:
    first = msgspec.structs.replace(LAST, watermark_ms=0)
    assert CommitRules(3, NEVER_S, every_days=1).due(draft(last=first)) is None


def test_nothing_is_due_of_marks_alone() -> None:
    rules, marks = CommitRules(3, NEVER_S, every_days=1), draft(0, DAY_MS)
    marks.add([Slot(0, n) for n in range(5)], [b"{}"] * 5, [], 0)
    assert rules.due(marks) is None
    assert rules.due(draft(1, DAY_MS)) == Due("schedule", NOON_MS + DAY_MS)
