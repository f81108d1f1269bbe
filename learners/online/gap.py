"""The gap between the version that serves and the shadow, which learns on: whether a changed world has opened one.

g = loss(version, under the intercept) − loss(shadow), on the same samples in the order learned: what a storm makes hard
is hard for both. Of each BLOCK of samples with the mean x, the bets of `learners/bets.py` are on

    u = tanh((x − μ) / s)      μ: MARGIN of the version's mean loss; s: the root of the mean square of earlier x − μ

over the KEPT blocks before. With N blocks in a year at the feed's pace, mean R ≥ N is an alarm: about one a year by
chance, while x is off μ either way alike. Since when: beside each R_j is Page's sum (1954),

    C_j ← max(0, C_j + log(1 + b_j u))      since the block after which the C_j of the largest R_j was last 0

A change that began before a candidate was made is that candidate's, however long the gap is open: it makes no other.
On a year of flights mean R stays below N. What others see of a change (`learners/live/change.py`) is an alarm, too.
After an alarm a candidate is due once ENOUGH samples since the change are learned, or the time PATIENCE_MS is over.
Owns this state, which follows from the log. Does not know who makes a candidate.
"""

import math
from collections.abc import Sequence

import msgspec
import torch
from msgspec import Struct, field
from torch import Tensor

from learners.bets import BETS, raised

DAY_MS = 86_400_000
YEAR_MS = 364 * DAY_MS
BLOCK, KEPT, LEAST = 100, 100, 10  # samples; blocks that are kept; blocks before one that is judged
MARGIN = 0.1
MOST = 5.0  # of a C_j, so that a gap that was open for long is soon closed
QUIET = 2_000  # samples after an alarm that raise no other
ENOUGH, PATIENCE_MS = 750, 2 * DAY_MS
LAPSES_MS = 7 * DAY_MS  # after so long nobody is to make a candidate of an alarm
LEAST_A_DAY = 1_000.0  # samples: of fewer, as of a feed that is young, the same evidence is asked for


class _State(Struct):
    """`part` are samples of the next block, `blocks` the last ones: mean gap, mean loss, newest prediction.

    `heard` changes were seen by others. `zero_ms` are the newest predictions when each C_j was last 0. `alarm_ms` and
    `since_ms` are of an alarm that waits for its candidate, `fresh` samples since; `made_ms` are the candidates of the
    last year.
    """

    part: list[tuple[float, float, int]] = field(default_factory=list)
    blocks: list[tuple[float, float, int]] = field(default_factory=list)
    r: list[float] = field(default_factory=lambda: [0.0] * len(BETS))
    c: list[float] = field(default_factory=lambda: [0.0] * len(BETS))
    zero_ms: list[int] = field(default_factory=lambda: [-1] * len(BETS))
    taken: int = 0
    heard: int = 0
    first_ms: int = -1
    now_ms: int = -1
    quiet: int = 0
    alarm_ms: int = -1
    since_ms: int = -1
    fresh: int = 0
    changed_ms: int = -1
    made_ms: list[int] = field(default_factory=list)


class Gap:
    """Follows samples in the order learned."""

    def __init__(self) -> None:
        self._now = _State()

    @property
    def changed_ms(self) -> int:
        """The time of a prediction, after which are the samples of the newest such candidate; −1 for none."""
        return self._now.changed_ms

    @property
    def due_ms(self) -> int | None:
        """The time of a prediction after which the world has changed, where a candidate is due; −1: from the start."""
        now = self._now
        waited = now.fresh >= ENOUGH or now.now_ms >= now.alarm_ms + PATIENCE_MS
        return now.since_ms if now.alarm_ms >= 0 and waited else None

    def room(self, most: int) -> bool:
        """Return whether fewer than `most` were made in the last year."""
        return sum(at_ms > self._now.now_ms - YEAR_MS for at_ms in self._now.made_ms) < most

    def follow(self, asked_ms: Sequence[int], told_ms: Sequence[int], served: Tensor, shadow: Tensor) -> None:
        """Take samples: when each was asked and told, the version's losses and the shadow's, each (N,)."""
        now, gaps = self._now, served - shadow
        if now.first_ms < 0 and len(told_ms):
            now.first_ms = min(told_ms)
        known = gaps.isfinite()
        numbers = (one.where(known, 0.0).tolist() for one in (gaps, served))
        samples, start = list(zip(*numbers, asked_ms, strict=True)), 0
        while start < len(samples):
            end = min(len(samples), start + BLOCK - len(now.part))
            now.taken, now.now_ms = now.taken + end - start, max(now.now_ms, max(told_ms[start:end]))
            if now.alarm_ms >= 0:
                now.fresh += sum(t_ms > now.since_ms for t_ms in asked_ms[start:end])
            now.part += samples[start:end]
            start = end
            if len(now.part) == BLOCK:
                self._judge()
        if now.alarm_ms >= 0 and now.now_ms > now.alarm_ms + LAPSES_MS:
            now.alarm_ms = -1

    def _judge(self) -> None:
        """Take a whole block."""
        now = self._now
        gaps, losses, times_ms = zip(*now.part, strict=True)
        gap, before = sum(gaps) / BLOCK, now.blocks
        now.blocks = [*before, (gap, sum(losses) / BLOCK, max(times_ms))][-KEPT:]
        now.part = []
        if len(before) >= LEAST and self._bet(gap, before):
            since_ms = now.zero_ms[max(range(len(BETS)), key=now.r.__getitem__)]
            now.r = [0.0] * len(BETS)
            if not now.made_ms or since_ms > now.made_ms[-1]:  # else it is the same change, and schedules go on from it
                self._see(since_ms)

    def _bet(self, gap: float, before: Sequence[tuple[float, float, int]]) -> bool:
        """Bet on a block, now the last one; return whether that makes an alarm."""
        now, newest_ms = self._now, self._now.blocks[-1][2]
        gaps, losses, _ = zip(*before, strict=True)
        margin = MARGIN * sum(losses) / len(before)
        scale = math.sqrt(sum([(one - margin) ** 2 for one in gaps]) / len(before))
        u = math.tanh((gap - margin) / scale) if scale else 0.0
        now.c = [min(MOST, max(0.0, one + math.log1p(bet * u))) for one, bet in zip(now.c, BETS, strict=True)]
        now.zero_ms = [newest_ms if one == 0 else ms for one, ms in zip(now.c, now.zero_ms, strict=True)]
        now.quiet -= BLOCK if now.quiet else 0
        now.r = [0.0] * len(BETS) if now.quiet else raised(now.r, u)
        days = max(1.0, (now.now_ms - now.first_ms) / DAY_MS)
        a_year = max(LEAST_A_DAY, now.taken / days) * YEAR_MS / DAY_MS / BLOCK
        return sum(now.r) / len(BETS) >= a_year

    def hear(self, count: int, since_ms: int) -> None:
        """Take how many changes others have seen so far, of which the newest is since the prediction of `since_ms`."""
        if count > self._now.heard:
            self._see(since_ms)
        self._now.heard = count

    def _see(self, since_ms: int) -> None:
        """Take an alarm."""
        now = self._now
        now.alarm_ms, now.since_ms, now.quiet = now.now_ms, since_ms, QUIET
        whole = sum(t_ms > since_ms for _, _, t_ms in now.blocks) * BLOCK
        now.fresh = whole + sum(t_ms > since_ms for _, _, t_ms in now.part)
        now.r = [0.0] * len(BETS)

    def make(self, since_ms: int) -> None:
        """Take note that a candidate is made, of samples after `since_ms`."""
        now = self._now
        now.made_ms = [*(ms for ms in now.made_ms if ms > now.now_ms - YEAR_MS), now.now_ms]
        now.changed_ms, now.alarm_ms = since_ms, -1

    def state(self) -> Tensor:
        """Return all that changes."""
        return torch.frombuffer(bytearray(msgspec.msgpack.encode(self._now)), dtype=torch.uint8)

    def load(self, state: Tensor) -> None:
        """Go on from a state."""
        self._now = msgspec.msgpack.decode(state.numpy().tobytes(), type=_State)
