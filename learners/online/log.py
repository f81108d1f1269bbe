"""What the log tells the live experts: outcomes, and marks of what waits, of predictions as they were recorded.

Does not know what an expert makes of it.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Any

from learners.labels.holds import Hold
from learners.live.held import Asked, Told, Unsaid, Waits
from streams.events import CORRECTION, WAITING, Prediction, Sample


def told(
    entries: Sequence[Sample], rows: Sequence[Any], weights: Sequence[float], held: Sequence[Hold], experts: int
) -> Iterator[Told | Waits | Unsaid]:
    """Yield what entries of the log tell; `rows` are their features, decoded; each of `experts` has said something.

    `weights` are those of the samples among them that are not `held`.
    """
    coming, unsaid = iter(weights), {hold.at for hold in held}
    for at, (entry, row) in enumerate(zip(entries, rows, strict=True)):
        if at in unsaid:
            if entry.kind not in (WAITING, CORRECTION):
                yield Unsaid(entry.t, entry.label_t)
            continue
        asked = Asked(entry.id, entry.t, row, _said(entry.prediction, experts), _answer(entry.prediction))
        if entry.kind == WAITING:
            yield Waits(asked, entry.label_t, entry.revision)
        else:
            yield Told(asked, entry.label_t, entry.label, next(coming), entry.kind == CORRECTION)


def _answer(prediction: Prediction) -> float:
    return prediction.answer[0] if prediction.answer else math.nan


def _said(prediction: Prediction, experts: int) -> tuple[float, ...]:
    """Return what each expert said, NaN for nothing."""
    deep = (*prediction.output, *prediction.bare)
    others = tuple(math.nan if logit is None else logit for logit in prediction.experts)
    return (deep + others if len(deep + others) == experts else deep + (math.nan,) * (experts - 2))[:experts]
