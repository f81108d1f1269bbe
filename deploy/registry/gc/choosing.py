"""At which commit the log is to begin, where old samples are let go, and what keeps it from beginning later.

Owns the rule. Does not know what is deleted then (letting.py), or when that is looked at.
"""

from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import NamedTuple

import msgspec
from msgspec import Struct

from deploy.registry.commits import base, read, walk
from deploy.registry.gc.heads import Head
from deploy.registry.gc.letting import turned
from deploy.registry.held import undecided
from deploy.registry.kinds import BLOBS, CANDIDATES, COMMITS, EVALUATOR
from deploy.registry.learned import Tally
from deploy.registry.log.segments import LOG, digest, span_of
from deploy.registry.records import Base
from deploy.registry.registry import Registry
from deploy.registry.states.names import listed
from learners.commits.commit import Commit
from learners.commits.voids import ALL, Bounds, lowered, remaining
from streams.errors import ConfigError, Unreachable
from streams.events import WAITING


class Keeping(NamedTuple):
    """How much of the log stays: `samples` at least, and as many before the newest candidate as it `replay`s.

    Of what a store that is lost would have joined again, nothing goes: `span_ms` is the join's window, and how long an
    id is kept after it; `oldest_ms` returns the event time of the oldest event in the broker, None if that cannot be
    read, or raises what keeps the broker from telling.
    """

    samples: int
    replay: int
    span_ms: int
    oldest_ms: Callable[[], int | None]


class Limit(NamedTuple):
    """The last commit at which the log may begin, and why not at a later one."""

    number: int
    why: str


class Whole(NamedTuple):
    """A commit, the digest of its line, and the object that is the whole state after it."""

    number: int
    chain: str
    state: str


class Chosen(NamedTuple):
    """Where the log is to begin; None where it stays as it is, for the reason `why`."""

    base: Base | None
    why: str


def choose(registry: Registry, keeping: Keeping, heads: Sequence[Head]) -> Chosen:
    """Return where the log may begin, at the latest; `heads` are those of all its commits.

    Raises:
        RegistryError, CommitError: a commit is damaged or missing.
    """
    first, newest = heads[0], heads[-1]
    if newest.learned - first.learned <= keeping.samples:
        return Chosen(None, f"the log has no more than {keeping.samples:,} samples yet")
    limit = min(_limits(registry, keeping, heads))
    whole = [one for one in _whole(registry, heads, limit.number) if one.number > first.number]
    if not whole:
        return Chosen(None, limit.why)
    told = [_told(*one) for one in walk(registry, whole[-1].number - 1)][::-1]
    if not told or told[0].number > first.number:
        return Chosen(None, "another sweep has just let samples go")
    try:
        oldest_ms = keeping.oldest_ms()
    except (ConfigError, Unreachable) as wrong:
        return Chosen(None, f"the broker does not tell its oldest event: {wrong}")
    if oldest_ms is None:
        return Chosen(None, "the broker does not tell its oldest event: its oldest records cannot be read")
    late = next((one.number for one in told if one.until_ms + keeping.span_ms >= oldest_ms), newest.number)
    fits = [one for one in whole if one.number <= late]
    spans = [span_of(name) for name in registry.objects.list(LOG)]
    if late < limit.number:
        limit = Limit(late, f"a store that is lost would join commit {late} again: the broker still has its events")
    if not fits:
        return Chosen(None, limit.why)
    if (oldest := min(span.last for span in spans)) >= fits[-1].number:
        return Chosen(None, f"the oldest file holds commits up to {oldest}, and {limit.why}")
    return Chosen(_base(registry, fits[-1], told), "")


def _limits(registry: Registry, keeping: Keeping, heads: Sequence[Head]) -> Iterator[Limit]:
    newest, by_number = heads[-1], {one.number: one for one in heads}
    at = _before(heads, newest.learned - keeping.samples)
    yield Limit(at, f"{keeping.samples:,} samples are kept, those after commit {at}")
    spans = registry.objects.list(LOG)
    yield Limit(span_of(spans[-1]).last if spans else -1, "what comes after is not sealed yet")
    summaries = [number for number, _ in registry.folds(EVALUATOR.name).names()]
    at = min(summaries, default=-1)
    yield Limit(at, f"the evaluator would begin at its summary of commit {at}" if summaries else
                "the evaluator has no summary, and would begin at the first commit")  # fmt: skip
    made = {one.commit for one in registry.records(CANDIDATES) if not one.by}
    last = max((n for n in made if n <= newest.number), default=-1)
    if last >= heads[0].number:
        at = _before(heads, by_number[last].learned - keeping.replay)
        yield Limit(at, f"the candidate after that of commit {last} replays what was learned after commit {at}")
    for one in heads:
        if one.due and one.number > last:
            yield Limit(one.number, f"a candidate is to be made of commit {one.number}")
            break
    if any(one.held for one in heads) and (held := [*undecided(registry)]):
        at = held[-1].commit
        yield Limit(at, f"samples of {held[-1].hold.source} are held since commit {at}: release or drop them")
    if (again := turned(registry)) and again.commit >= newest.number:
        yield Limit(-1, "the pipeline has changed, and the log is being learned again")


def _before(heads: Sequence[Head], learned: int) -> int:
    """Return the last commit after which no more than so many samples were learned; -1 if there is none."""
    return max((one.number for one in heads if one.learned <= learned), default=-1)


def _whole(registry: Registry, heads: Sequence[Head], last: int) -> list[Whole]:
    """Return the commits up to `last` whose state is there, and is not taken back in part, oldest first.

    One that has learned nothing is none of them: an evaluator that begins there could test nothing yet.
    """
    again, bounds, found = turned(registry), ALL, list[Whole]()
    names = {(name.number, name.chain): name.object for name in listed(registry.objects)}
    numbers = {number for number, _ in names}
    learned = {one.number for before, one in pairwise(heads) if before.learned < one.learned and one.number <= last}
    for one in reversed(heads):
        if again and one.number <= again.commit:
            break
        if one.number in learned and (one.number in numbers or (one.state and registry.has(one.state))):
            chain, commit = digest(registry.read(COMMITS, one.number) or b""), read(registry, one.number)
            state = names.get((one.number, chain)) or (f"{BLOBS}/{one.state}" if one.state else "")
            if state and remaining(commit, bounds) is commit:
                found.append(Whole(one.number, chain, state))
        if one.takes_back:
            commit = read(registry, one.number)
            bounds = lowered(bounds, commit.void, commit.doubted)
    return found[::-1]


class _Told(NamedTuple):
    """What remains known of a commit that is let go."""

    number: int
    samples: int
    until_ms: int
    tally: Tally
    takes_back: bool
    whole: bool


class _Times(Struct):
    kind: str
    t: int
    label_t: int


_times = msgspec.json.Decoder(_Times).decode


def _told(written: Commit, bounds: Bounds) -> _Told:
    commit = remaining(written, bounds)
    times = [_times(sample) for sample in commit.samples] + [_times(one.sample) for one in commit.quarantined]
    until_ms = max((max(one.t, one.label_t) for one in times if one.kind != WAITING), default=-1)
    fresh = times[commit.released : len(commit.samples)]
    tally = Tally()
    tally.add(commit)
    samples = sum(one.kind != WAITING for one in fresh)
    back, whole = bool(written.void or written.doubted), written.state is not None
    return _Told(written.number, samples, until_ms, tally, back, whole)


def _base(registry: Registry, at: Whole, told: Sequence[_Told]) -> Base:
    """Return the record of a log that begins at a commit."""
    before, gone = base(registry), [one for one in told if one.number < at.number]
    shards, held, lost = (dict[int, int]() for _ in range(3))
    for into, name in ((shards, "shards"), (held, "held"), (lost, "quarantined")):
        for one in gone:
            for shard, count in getattr(one.tally, name).items():
                into[shard] = into.get(shard, 0) + count
    learned = {shard: count - held.get(shard, 0) for shard, count in shards.items()}
    return Base(
        number=at.number,
        chain=at.chain,
        state=at.state,
        states=(before.states if before else 0) + sum(one.whole for one in gone),
        rounds=(before.rounds if before else 0) + sum(one.takes_back for one in gone),
        samples=(before.samples if before else 0) + sum(one.samples for one in gone),
        learned=_sum(learned, before.learned if before else {}),
        held=_sum(held, before.held if before else {}),
        quarantined=_sum(lost, before.quarantined if before else {}),
        until_ms=max([one.until_ms for one in gone] + ([before.until_ms] if before else [])),
    )


def _sum(a: dict[int, int], b: dict[int, int]) -> dict[int, int]:
    return {shard: a.get(shard, 0) + b.get(shard, 0) for shard in sorted({*a, *b})}
