"""The gap between version and shadow: what opens it, since when, when a candidate is due, and its state."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from learners.online.gap import BLOCK, DAY_MS, ENOUGH, LAPSES_MS, PATIENCE_MS, YEAR_MS, Gap

MIN_MS = 60_000
AT = 3_000  # the place of a change


def losses(n: int, ratio: float = 1.0, at: int = AT, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the losses of a version and of a shadow; from `at` on the version's are `ratio` times as large."""
    draw = np.random.default_rng(seed)
    shadow = draw.exponential(0.5, n)
    served = shadow + draw.normal(0, 0.1, n)
    served[at:] *= ratio
    return torch.from_numpy(served), torch.from_numpy(shadow)


def times(n: int, start: int = 0) -> list[int]:
    return [(start + k + 1) * MIN_MS for k in range(n)]


def follow(gap: Gap, served: torch.Tensor, shadow: torch.Tensor, start: int = 0, each: int = 50) -> int | None:
    """Let it follow samples, one a minute; return after how many a candidate is due."""
    for k in range(0, len(served), each):
        part = slice(k, k + each)
        asked = times(len(served[part]), start + k)
        gap.follow(asked, asked, served[part], shadow[part])
        if gap.due_ms is not None:
            return start + k + each
    return None


def test_a_version_that_falls_behind_makes_a_candidate_due_and_it_is_known_since_when() -> None:
    gap = Gap()
    due = follow(gap, *losses(6_000, 1.8))
    assert due is not None
    assert AT + ENOUGH <= due <= AT + 1_500
    assert gap.due_ms is not None
    assert abs(gap.due_ms // MIN_MS - AT) <= 2 * BLOCK


@pytest.mark.parametrize("ratio", [1.0, 1.05])
def test_neither_noise_nor_a_gap_within_the_margin_is_an_alarm(ratio: float) -> None:
    assert follow(Gap(), *losses(50_000, ratio), each=BLOCK) is None


def test_a_storm_that_is_hard_for_both_is_none() -> None:
    served, shadow = losses(20_000)
    storm = torch.ones(20_000).double()
    storm[AT : AT + 3_000] = 4
    assert follow(Gap(), served * storm, shadow * storm) is None


def test_what_is_not_finite_says_nothing() -> None:
    served, shadow = losses(20_000, 3)
    served[AT:] = torch.inf
    assert follow(Gap(), served, shadow) is None


def test_a_change_that_others_saw_is_due_with_enough_samples_or_in_time() -> None:
    served, shadow = losses(4_000)
    gap = Gap()
    follow(gap, served[:950], shadow[:950])
    gap.hear(1, 800 * MIN_MS)
    assert gap.due_ms is None
    assert follow(gap, served[950:], shadow[950:], 950) == 800 + ENOUGH
    assert gap.due_ms == 800 * MIN_MS
    few = Gap()
    follow(few, served[:950], shadow[:950])
    few.hear(1, 800 * MIN_MS)
    for days in (PATIENCE_MS - MIN_MS, PATIENCE_MS):
        at_ms = [950 * MIN_MS + days]
        few.follow(at_ms, at_ms, served[:1], shadow[:1])
    assert few.due_ms == 800 * MIN_MS
    few.hear(1, 900 * MIN_MS)  # the same one
    assert few.due_ms == 800 * MIN_MS


def test_a_candidate_that_is_made_ends_the_alarm_and_counts_for_a_year() -> None:
    gap = Gap()
    due = follow(gap, *losses(6_000, 1.8)) or 0
    since_ms = gap.due_ms
    assert since_ms is not None
    gap.make(since_ms)
    assert (gap.due_ms, gap.changed_ms) == (None, since_ms)
    assert (gap.room(1), gap.room(2)) == (False, True)
    assert follow(gap, *losses(20_000, 1.8, at=0), start=due) is None  # the gap stays open: the same change
    closed, n = due + 20_000, 4_000
    again = follow(gap, *losses(9_000, 1.8, at=n), start=closed)
    assert again is not None
    assert again >= closed + n + ENOUGH
    assert gap.due_ms is not None
    assert abs(gap.due_ms // MIN_MS - closed - n) <= 2 * BLOCK
    later = [due * MIN_MS + YEAR_MS]
    gap.follow(later, later, torch.zeros(1), torch.zeros(1))
    assert gap.room(1)


def test_an_alarm_that_nobody_heeds_lapses() -> None:
    gap = Gap()
    follow(gap, *losses(50))
    gap.hear(1, -1)
    follow(gap, *losses(ENOUGH), start=50)
    assert gap.due_ms == -1
    later = [LAPSES_MS + DAY_MS]
    gap.follow(later, later, torch.zeros(1), torch.zeros(1))
    assert gap.due_ms is None


@settings(max_examples=20, deadline=None)
@given(cuts=st.lists(st.integers(1, 4_799), max_size=12, unique=True))
def test_any_cut_and_any_restart_lead_to_the_same_bits(cuts: list[int]) -> None:
    served, shadow = losses(4_800, 1.8)
    whole = Gap()
    whole.follow(times(4_800), times(4_800), served, shadow)
    parts = Gap()
    for start, end in zip([0, *sorted(cuts)], [*sorted(cuts), 4_800], strict=True):
        asked = times(end - start, start)
        parts.follow(asked, asked, served[start:end], shadow[start:end])
        state, parts = parts.state(), Gap()
        parts.load(state)
    assert whole.due_ms is not None
    assert torch.equal(whole.state(), parts.state())
