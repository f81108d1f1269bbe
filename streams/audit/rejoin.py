"""One id joined again, in plain Python: what its events must have become, and what they may have become.

Owns the protocol's table for a single id, written from its words and not from the script. Does not know where events
come from, nor shards, steps or counters.
"""

from collections.abc import Iterator, Sequence
from functools import reduce
from itertools import product
from operator import add
from typing import Any, NamedTuple

import msgspec

from streams.join.step import Rules

MOST_OPTIONAL = 6  # events that may be missing, of which every subset is tried


class Emission(NamedTuple):
    """What one sample says of its id."""

    revision: int
    kind: str
    label: Any


Result = tuple[Emission, ...]  # of all samples of an id, in order
NOTHING: Result = ()


class PredictionArrival(NamedTuple):
    """A prediction: its time, and how late it may have arrived.

    `bound_ms` is the highest that the watermark can have been when it arrived, `after_end` says that the feed had ended
    by then, `optional` that the join may have refused it.
    """

    t_ms: int
    bound_ms: int
    after_end: bool = False
    optional: bool = False


class OutcomeArrival(NamedTuple):
    """An outcome: its time, its label as JSON, and how late it may have arrived (see `PredictionArrival`)."""

    t_ms: int
    label: str
    bound_ms: int
    after_end: bool = False
    optional: bool = False


def settled(t_ms: int, outcomes: Sequence[OutcomeArrival], rules: Rules, *, closed: bool) -> Result:
    """Return what a prediction at `t_ms` becomes if every outcome arrived before its window closed, in any order."""
    deadline = t_ms + rules.window_ms
    on_time = sorted({(one.t_ms, one.label) for one in outcomes if one.t_ms <= deadline})
    if on_time and not rules.at_close:
        return (Emission(0, "joined", _value(on_time[0][1])),)
    if not closed:
        return NOTHING
    if on_time:
        return (Emission(0, "joined", reduced(on_time, rules)),)
    late = sorted({(one.t_ms, one.label) for one in outcomes if rules.correct})
    return _absent(rules, reduced(late, rules)) if late else _absent(rules)


def possible(
    prediction: PredictionArrival, partitions: Sequence[Sequence[OutcomeArrival]], rules: Rules, *, closed: bool
) -> Iterator[Result]:
    """Yield all that may come of a prediction and its outcomes, which are given by partition, in order.

    Each outcome arrived before the window closed or after. If the prediction arrived late, the first outcomes may have
    been dropped as orphans.
    """
    if prediction.optional or prediction.bound_ms > prediction.t_ms + rules.window_ms + rules.keep_ms:
        yield NOTHING
    times = [one.t_ms for part in partitions for one in part]
    orphans = bool(times) and (prediction.after_end or prediction.bound_ms > min(times) + rules.window_ms)
    for present in _present(partitions, rules):
        cuts = (_cuts(part, prediction.t_ms + rules.window_ms, orphans) for part in present)
        for chosen in product(*cuts):
            before, after = [cut.before for cut in chosen], [cut.after for cut in chosen]
            yield from _results(prediction.t_ms, before, after, rules, closed)


def reduced(outcomes: Sequence[tuple[int, str]], rules: Rules) -> Any:
    """Reduce several (time, label), which are sorted, to one label."""
    labels = [_value(label) for _, label in outcomes]
    if rules.reduce == "sum":
        return reduce(add, map(float, labels), 0.0)
    if rules.reduce == "list":
        return labels
    return labels[-1] if rules.reduce == "last" else labels[0]


def _results(
    t_ms: int,
    before: Sequence[Sequence[OutcomeArrival]],
    after: Sequence[Sequence[OutcomeArrival]],
    rules: Rules,
    closed: bool,
) -> Iterator[Result]:
    """Yield what may come of outcomes that arrived `before` the window closed and of those that arrived `after`."""
    deadline = t_ms + rules.window_ms
    flat = [one for part in before for one in part]
    if any(one.t_ms <= deadline for one in flat):
        if rules.at_close:
            yield settled(t_ms, flat, rules, closed=closed)
        else:
            yield from ((Emission(0, "joined", _value(label)),) for label in _firsts(before, deadline))
        return
    if any(after) and not closed:
        return
    plain = settled(t_ms, flat, rules, closed=closed)
    taken = [one for part in after for one in part if one.t_ms <= deadline or rules.correct]
    firsts = [next((one for one in part if one in taken), None) for part in after]
    corrections = [one for one in firsts if one is not None]
    may_be_forgotten = all(one.bound_ms > deadline + rules.keep_ms for one in corrections)
    if plain != _absent(rules) or not rules.negative or may_be_forgotten:
        yield plain
    if plain == _absent(rules) and rules.negative:
        yield from (_absent(rules, reduced([(one.t_ms, one.label)], rules)) for one in corrections)


def _absent(rules: Rules, *correction: Any) -> Result:
    if not rules.negative:
        return NOTHING
    negative = Emission(0, "negative", _value(rules.negative))
    return (negative, *(Emission(1, "correction", label) for label in correction))


def _firsts(partitions: Sequence[Sequence[OutcomeArrival]], deadline: int) -> Iterator[str]:
    """Yield the labels of which one was taken at once.

    Of each partition these are the first that is on time, and every later one with a smaller time than all before it:
    they may have waited together for the prediction.
    """
    for part in partitions:
        least: tuple[int, str] | None = None
        for one in part:
            if one.t_ms <= deadline and (least is None or (one.t_ms, one.label) < least):
                least = (one.t_ms, one.label)
                yield one.label


class _Cut(NamedTuple):
    """A partition's outcomes that arrived before a window closed, and after."""

    before: Sequence[OutcomeArrival]
    after: Sequence[OutcomeArrival]


def _cuts(part: Sequence[OutcomeArrival], deadline: int, orphans: bool) -> Iterator[_Cut]:
    sure = next((i for i, one in enumerate(part) if one.after_end or one.bound_ms > deadline), len(part))
    for first in range(len(part) + 1) if orphans else (0,):
        for end in range(max(first, sure), len(part) + 1):
            yield _Cut(part[first:end], part[end:])


def _present(partitions: Sequence[Sequence[OutcomeArrival]], rules: Rules) -> Iterator[list[list[OutcomeArrival]]]:
    """Yield the outcomes that the join may have taken: with and without each that may be too late or refused.

    Of many, without the first ones, however many.
    """
    span = rules.window_ms + rules.keep_ms
    flat = [(i, one) for i, part in enumerate(partitions) for one in part]
    optional = [n for n, (_, one) in enumerate(flat) if one.optional or one.bound_ms > one.t_ms + span]
    count = len(optional)
    each = product((True, False), repeat=count)
    ends = ((False,) * gone + (True,) * (count - gone) for gone in range(count + 1))
    for choice in each if count <= MOST_OPTIONAL else ends:
        gone = {n for n, taken in zip(optional, choice, strict=True) if not taken}
        yield [
            [one for n, (i, one) in enumerate(flat) if i == part and n not in gone] for part in range(len(partitions))
        ]


_value = msgspec.json.Decoder().decode
