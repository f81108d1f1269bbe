"""The guard rails of what serves, looked at all the time: beside the version before it, on the newest requests.

They need no outcome: a version that answers nothing, or the same to all, or too late, is seen within seconds. Owns
which requests are asked again, how often, and when a version counts as broken. Does not know what follows.
"""

import logging
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from contextlib import suppress
from functools import partial

import torch
from torch import Tensor

from compressors import scale
from compressors.rows import Collated
from deploy.pipeline import Pipeline
from deploy.registry.notes import BrokenNote
from deploy.serving.answering import Asked, bisected
from deploy.serving.champion import REFUSED, Served, Version
from learners.evaluation.guards.latency import ROWS as TIMED
from learners.evaluation.guards.latency import latency
from learners.evaluation.guards.outputs import alike, constant, spread
from learners.evaluation.verdict import Guard
from learners.online.batches import Encoder

ROWS, LEAST = 256, 64  # of the newest requests, which are asked again; so many new ones before the next look
MOST_BYTES = 64_000_000  # of these requests' features
FEW = 8  # requests of these without an answer are no version's fault
EVERY_S, PART = 2.0, 0.02  # between two looks, at least, and the part of a core that they may take
SURE = 2  # looks in a row, each with new requests, that find the same guard rail broken
USUAL = 0.5  # of the widest spread so far of the version before: requests that are all alike say nothing of a version


class Guarded:
    """Takes what a server was asked; what serves is asked again in the thread that loads versions."""

    def __init__(self, pipeline: Pipeline, champion: Served, clock: Callable[[], float] = time.monotonic) -> None:
        self._pipeline, self._champion, self._clock = pipeline, champion, clock
        self._encoder, self._rails = pipeline.encoder(), pipeline.promotion.rails
        self._newest, self._bytes, self._fresh = deque[Asked](), 0, 0
        self._looking: Future[list[Guard]] | None = None
        self._due_s, self._took_s = 0.0, 0.0
        self._version, self._reign = -1, ""  # of what was looked at last
        self._broken, self._widest = Counter[str](), 0.0
        self._before: Version | None = None

    def take(self, asked: Sequence[Asked]) -> BrokenNote | None:
        """Take requests that were answered, or were not; return the guard rail that what serves has surely broken.

        A canary is looked at by the evaluator, on every prediction.
        """
        self._keep(asked)
        found = self._looked() if self._looking and self._looking.done() else None
        serving = self._champion.champion
        due = serving.record.number != self._version or self._clock() >= self._due_s
        if self._looking is None and due and self._fresh >= LEAST and self._champion.canary is None:
            if serving.record.reign != self._reign:
                self._reign, self._broken, self._widest = serving.record.reign, Counter(), 0.0
                self._before = None
            self._fresh, self._version = 0, serving.record.number
            self._looking = self._champion.beside(partial(self._timed, serving, list(self._newest)))
        return found

    def _keep(self, asked: Sequence[Asked]) -> None:
        self._fresh += len(asked)
        for one in asked[-ROWS:]:
            self._newest.append(one)
            self._bytes += len(one.request.features)
        while len(self._newest) > ROWS or self._bytes > MOST_BYTES:
            self._bytes -= len(self._newest.popleft().request.features)

    def _looked(self) -> BrokenNote | None:
        """Return what a look has found, if it is the same as the one before it found."""
        looking, self._looking = self._looking, None
        if looking is None:
            return None
        try:
            broken = [guard for guard in looking.result() if not guard.passed]
        except Exception as wrong:  # noqa: BLE001 a user's model may raise anything; serving goes on without a look
            logging.getLogger("shadowstream").warning("server: guard rails cannot be looked at: %s", wrong)
            broken = []
        self._due_s = self._clock() + max(EVERY_S, self._took_s / PART)
        self._broken = Counter({guard.name: self._broken[guard.name] + 1 for guard in broken})
        sure = next((guard for guard in broken if self._broken[guard.name] >= SURE), None)
        now, before = self._champion.record, self._before
        if sure is None or before is None or self._reign != now.reign:
            return None
        return BrokenNote(now.number, now.artifact, before.record.number, len(self._newest), sure)

    def _timed(self, serving: Version, asked: Sequence[Asked]) -> list[Guard]:
        began_s = time.thread_time()
        try:
            return self._look(serving, asked)
        finally:
            self._took_s = time.thread_time() - began_s

    def _look(self, serving: Version, asked: Sequence[Asked]) -> list[Guard]:
        """Return what the guard rails find of a version, beside the one before; nothing where there is none."""
        if self._before is None:
            with suppress(*REFUSED):
                self._before = self._champion.load_before()
        if self._before is None:
            return []
        theirs = self._answers(self._before, asked)
        able = torch.isfinite(theirs).all(dim=1)
        if int(able.sum()) < LEAST:
            return []
        asked, theirs = [one for one, there in zip(asked, able.tolist(), strict=True) if there], theirs[able]
        ours = self._answers(serving, asked)
        if (found := unanswered(ours, self._before.record.number)) and not found.passed:
            return [found]
        there = torch.isfinite(ours).all(dim=1)
        return [*self._alike(ours[there], theirs[there]), self._latency(serving, self._before, asked)]

    def _alike(self, ours: Tensor, theirs: Tensor) -> list[Guard]:
        """Return how far answers (N, K) are from those of the version before."""
        task, wide = self._pipeline.task, spread(theirs)
        self._widest = max(self._widest, wide)
        found = list(alike(task, ours, theirs, self._rails))
        if self._before and wide >= USUAL * self._widest:
            unit = scale.of(self._before.running.model)
            labels = torch.tensor([unit.mean - unit.spread, unit.mean + unit.spread]) if unit else theirs
            found.append(constant(task, ours, theirs, labels, self._rails.constant))
        return found

    def _latency(self, serving: Version, before: Version, asked: Sequence[Asked]) -> Guard:
        some = asked[-TIMED:]
        ours, theirs = (_rows(some, one.encoder, self._encoder).batch() for one in (serving, before))
        return latency(serving.running, before.running, ours, self._rails.latency, theirs)

    def _answers(self, version: Version, asked: Sequence[Asked]) -> Tensor:
        """Return a version's answers (N, K); NaN where it has none."""

        def answered(some: Sequence[Asked]) -> list[list[float]]:
            answers: list[list[float]] = version.answer(_rows(some, version.encoder, self._encoder)).tolist()
            return answers

        none = [float("nan")] * self._pipeline.task.outputs
        made = [none if isinstance(row, Exception) else row for _, row in bisected(asked, answered)]
        return torch.tensor(made, dtype=torch.float64).reshape(len(asked), -1)


def _rows(asked: Sequence[Asked], own: Encoder | None, encoder: Encoder) -> Collated:
    """Return requests as rows for a version; one of an earlier pipeline has its `own` encoder."""
    rows = [own.decode(one.request.features) if own else one.row for one in asked]
    return Collated(rows, (own or encoder).encode, sizes=[len(one.request.features) for one in asked])


def unanswered(outputs: Tensor, before: int) -> Guard:
    """Return whether a version answers (N, K) what the version `before` does; few may be odd.

    >>> unanswered(torch.tensor([[1.0]] * 90 + [[float("nan")]] * 10), before=3).said
    '10 of the newest 100 requests get no finite answer, and v3 answers them, at most 7'
    """
    none, most = int((~torch.isfinite(outputs).all(dim=1)).sum()), FEW - 1
    said = f"{none} of the newest {len(outputs)} requests get no finite answer, and v{before} answers them"
    return Guard("finite", float(none), float(most), none <= most, f"{said}, at most {most}")
