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
Result = tuple[tuple[int, str, Any], ...]  # (revision, kind, label) of each sample, in order
NOTHING: Result = ()


class Told(NamedTuple):
    """An outcome: its label as JSON, and how late it may have come.

    `bound_ms` is the highest that the watermark can have been; `after_end`: the feed had been ended; `optional`: the
    join may have refused it.
    """

    t: int
    label: str
    bound_ms: int
    after_end: bool = False
    optional: bool = False


class Asked(NamedTuple):
    """A prediction: its time, and how late it may have come."""

    t: int
    bound_ms: int
    after_end: bool = False
    optional: bool = False


def settled(t: int, told: Sequence[Told], rules: Rules, *, closed: bool) -> Result:
    """Give what comes out if every event came before its window closed; the time of coming plays no part."""
    deadline = t + rules.window_ms
    on_time = sorted({(one.t, one.label) for one in told if one.t <= deadline})
    if on_time and not rules.at_close:
        return ((0, "joined", _value(on_time[0][1])),)
    if not closed:
        return NOTHING
    if on_time:
        return ((0, "joined", reduced(on_time, rules)),)
    late = sorted({(one.t, one.label) for one in told if rules.correct})
    return _absent(rules, reduced(late, rules)) if late else _absent(rules)


def possible(asked: Asked, parts: Sequence[Sequence[Told]], rules: Rules, *, closed: bool) -> Iterator[Result]:
    """Give all that may come out; `parts` are the outcomes of each partition, in its order.

    An outcome came before its window closed, or after; where the prediction was late, outcomes before it may have gone.
    """
    if asked.optional or asked.bound_ms > asked.t + rules.window_ms + rules.keep_ms:
        yield NOTHING
    times = [one.t for part in parts for one in part]
    orphans = bool(times) and (asked.after_end or asked.bound_ms > min(times) + rules.window_ms)
    for present in _present(parts, rules):
        for cuts in product(*(_cuts(part, asked.t + rules.window_ms, orphans) for part in present)):
            yield from _came(asked.t, [held for held, _ in cuts], [after for _, after in cuts], rules, closed)


def reduced(outcomes: Sequence[tuple[int, str]], rules: Rules) -> Any:
    """Make one label of several (time, label), which are sorted."""
    labels = [_value(label) for _, label in outcomes]
    if rules.reduce == "sum":
        return reduce(add, map(float, labels), 0.0)
    if rules.reduce == "list":
        return labels
    return labels[-1] if rules.reduce == "last" else labels[0]


def _came(
    t: int, held: Sequence[Sequence[Told]], after: Sequence[Sequence[Told]], rules: Rules, closed: bool
) -> Iterator[Result]:
    """Give what may come out when `held` came before the window closed and `after` later."""
    deadline = t + rules.window_ms
    before = [one for part in held for one in part]
    if any(one.t <= deadline for one in before):
        if rules.at_close:
            yield settled(t, before, rules, closed=closed)
        else:
            yield from (((0, "joined", _value(label)),) for label in _firsts(held, deadline))
        return
    if any(after) and not closed:
        return
    plain = settled(t, before, rules, closed=closed)
    next_ = [one for part in after for one in part if one.t <= deadline or rules.correct]
    first = [next((one for one in part if one in next_), None) for part in after]
    corrections = [one for one in first if one is not None]
    may_be_forgotten = all(one.bound_ms > deadline + rules.keep_ms for one in corrections)
    if plain != _absent(rules) or not rules.negative or may_be_forgotten:
        yield plain
    if plain == _absent(rules) and rules.negative:
        yield from (_absent(rules, reduced([(one.t, one.label)], rules)) for one in corrections)


def _absent(rules: Rules, *correction: Any) -> Result:
    if not rules.negative:
        return NOTHING
    return ((0, "negative", _value(rules.negative)), *((1, "correction", label) for label in correction))


def _firsts(held: Sequence[Sequence[Told]], deadline: int) -> Iterator[str]:
    """Give the labels of which one was taken at once: the first to come, or the earliest of those before it."""
    for part in held:
        least: tuple[int, str] | None = None
        for one in part:
            if one.t <= deadline and (least is None or (one.t, one.label) < least):
                least = (one.t, one.label)
                yield one.label


def _cuts(part: Sequence[Told], deadline: int, orphans: bool) -> Iterator[tuple[Sequence[Told], Sequence[Told]]]:
    """Cut a partition's outcomes into those that came before the window closed and those after."""
    sure = next((i for i, one in enumerate(part) if one.after_end or one.bound_ms > deadline), len(part))
    for first in range(len(part) + 1) if orphans else (0,):
        for end in range(max(first, sure), len(part) + 1):
            yield part[first:end], part[end:]


def _present(parts: Sequence[Sequence[Told]], rules: Rules) -> Iterator[list[list[Told]]]:
    """Give the outcomes that the join may have taken, with and without each that was too late or refused."""
    span = rules.window_ms + rules.keep_ms
    flat = [(i, one) for i, part in enumerate(parts) for one in part]
    optional = [n for n, (_, one) in enumerate(flat) if one.optional or one.bound_ms > one.t + span]
    count = len(optional)
    some = product((True, False), repeat=count) if count <= MOST_OPTIONAL else [(True,) * count, (False,) * count]
    for choice in some:
        gone = {n for n, taken in zip(optional, choice, strict=True) if not taken}
        yield [[one for n, (i, one) in enumerate(flat) if i == part and n not in gone] for part in range(len(parts))]


_value = msgspec.json.Decoder().decode
