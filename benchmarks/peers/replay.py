"""A stream's events in their order: what a learner is asked, and what it is told in between; and how well it answered.

Used by our contenders and, with nothing installed but what they need, by the peers. A learner has

    answer(start, stop)   the chances of rows start … stop, of which nothing is told yet
    learn(events)         what came since the last answer: (time, row, −1) an outcome, (time, row, age) none yet

Times are ms. What is told at the very time of a request is told after it.
"""

import heapq
import json
import math
import pickle
import resource
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

NEVER_MS = 1 << 62
MOST_ROWS = 512
FLOOR = 1e-4  # no chance is taken for less


class Columns(NamedTuple):
    """A stream without our types: `kinds` is category, count, number or text, by field; None is a missing value."""

    kinds: dict[str, str]
    rows: list[tuple[Any, ...]]
    t_ms: list[int]
    known_ms: list[int]
    labels: list[float]
    live: int


class Replayed(NamedTuple):
    """Every answer; the seconds of the processor that a learner took, and the bytes that its process grew by."""

    answers: list[float]
    seconds: float
    grown_bytes: int


def replay(stream: Any, learner: Any, ages_ms: tuple[int, ...] = ()) -> Replayed:
    """Ask and tell; rows that still wait when they reach an age of `ages_ms` are told too."""
    told, marks, answers = _outcomes(stream), [], []
    next_told, seconds, start, before = 0, 0.0, 0, _peak()
    while start < len(stream.t_ms):
        events, now = [], stream.t_ms[start]
        while True:
            outcome_ms = told[next_told][0] if next_told < len(told) else NEVER_MS
            mark_ms = marks[0][0] if marks else NEVER_MS
            if min(outcome_ms, mark_ms) >= now:
                break
            if outcome_ms <= mark_ms:
                events.append((*told[next_told], -1))
                next_told += 1
                continue
            at, row, age = heapq.heappop(marks)
            if stream.known_ms[row] > at:
                events.append((at, row, age))
                if age + 1 < len(ages_ms):
                    heapq.heappush(marks, (stream.t_ms[row] + ages_ms[age + 1], row, age + 1))
        until = min(outcome_ms, mark_ms, now + ages_ms[0] if ages_ms else NEVER_MS)
        stop = start + 1
        while stop < len(stream.t_ms) and stop - start < MOST_ROWS and stream.t_ms[stop] <= until:
            stop += 1
        began = time.process_time()
        if events:
            learner.learn(events)
        answers.extend(learner.answer(start, stop))
        seconds += time.process_time() - began
        for row in range(start, stop) if ages_ms else ():
            heapq.heappush(marks, (stream.t_ms[row] + ages_ms[0], row, 0))
        start = stop
    return Replayed(answers, seconds, _peak() - before)


def _outcomes(stream: Any) -> list[tuple[int, int]]:
    return sorted((ms, row) for row, ms in enumerate(stream.known_ms) if ms < NEVER_MS)


def _peak() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def scores(stream: Any, replayed: Replayed) -> dict[str, float]:
    """Return log loss, AUC and mean chance over mean label of the live rows whose outcome came, and the costs."""
    rows = [row for row in range(stream.live, len(stream.t_ms)) if stream.known_ms[row] < NEVER_MS]
    y, p = [stream.labels[row] for row in rows], [replayed.answers[row] for row in rows]
    cut = [min(max(chance, FLOOR), 1 - FLOOR) for chance in p]
    loss = -sum(math.log(c if label else 1 - c) for c, label in zip(cut, y, strict=True)) / len(rows)
    return {
        "log_loss": loss,
        "auc": _auc(p, y),
        "p_over_y": sum(p) / sum(y),
        "samples_a_second": len(stream.t_ms) / max(replayed.seconds, 1e-9),
        "grown_mb": replayed.grown_bytes / 2**20,
    }


def _auc(p: list[float], y: list[float]) -> float:
    """Return the share of pairs of unlike labels that are in order; equal chances count half."""
    order = sorted(zip(p, y, strict=True))
    below, pairs, start = 0.0, 0.0, 0
    while start < len(order):
        stop = start
        while stop < len(order) and order[stop][0] == order[start][0]:
            stop += 1
        ones = sum(label for _, label in order[start:stop])
        pairs += ones * (below + (stop - start - ones) / 2)
        below += stop - start - ones
        start = stop
    return pairs / (sum(y) * below)


def main(learners: dict[str, Any]) -> None:
    """Run the learner that the command line names over a file of Columns; print one line of JSON."""
    name, path = sys.argv[1:]
    with Path(path).open("rb") as file:
        stream = Columns(*pickle.load(file))
    learner = learners[name](stream)
    print(json.dumps(scores(stream, replay(stream, learner))))
