"""What is held: samples in the commits that nothing has learned, until a person releases or drops them.

Owns which of them still wait. Does not know why a source is held.
"""

from collections.abc import Iterator
from typing import TYPE_CHECKING, NamedTuple

from msgspec import Raw

from deploy.registry.commits import backwards
from deploy.registry.notes import Distrusted
from deploy.registry.registry import Registry
from learners.commits.commit import Doubted, is_mark
from learners.commits.voids import Slot, runs, slots
from learners.labels.holds import FOR_EVER_MS, Hold
from streams.events import WAITING

if TYPE_CHECKING:
    from learners.labels.running import RunningTrust  # these import torch, which commands do without
    from learners.online.learner import Learner


class Withheld(NamedTuple):
    """A sample that is held, as JSON, which one it is, why, and in which commit."""

    slot: Slot
    sample: Raw
    hold: Hold
    commit: int


def waiting(registry: Registry, source: str) -> list[Withheld]:
    """Return the samples of a source that wait for a person, oldest first."""
    return [one for one in undecided(registry) if one.hold.source == source][::-1]


def undecided(registry: Registry) -> Iterator[Withheld]:
    """Yield all samples that wait for a person, newest first."""
    released, dropped = set[Slot](), set[str]()
    for commit in backwards(registry):
        of = list(slots(commit))
        released.update(of[: commit.released])
        for hold in reversed(commit.held):
            slot, sample = of[hold.at], commit.samples[hold.at]
            if slot not in released and hold.source not in dropped and not is_mark(sample):
                yield Withheld(slot, sample, hold, commit.number)
        dropped.update(ruling.source for ruling in commit.rulings if ruling.said == "drop")


def distrusted(trust: "RunningTrust") -> tuple[Distrusted, ...]:
    """Return the sources that are held now, by name."""
    return tuple(
        Distrusted(name, one.since_ms or 0, None if one.until_ms >= FOR_EVER_MS else one.until_ms, one.excess)
        for name, one in sorted(trust.held.items())
    )


def doubted(registry: Registry, learner: "Learner") -> list[Doubted]:
    """Return what was learned of sources that the trust has begun to hold, since their doubt began.

    All that the trust has seen is in the commits.
    """
    trust = learner.trust
    if trust is None or not trust.doubts:
        return []
    found: dict[str, list[Slot]] = {source: [] for source in trust.doubts}
    number, first = trust.seen, min(trust.doubts.values())
    for commit in backwards(registry):
        entries, of, held = commit.entries(), list(slots(commit)), {hold.at for hold in commit.held}
        rows = learner.rows(entries)
        for at in range(len(entries) - 1, commit.released - 1, -1):
            number -= entries[at].kind != WAITING
            source = trust.doubted(rows[at], number)
            if source and at not in held:
                found[source].append(of[at])
        if number <= first:
            break
    return [Doubted(source, "learned in doubt of the source", runs(of[::-1])) for source, of in found.items()]
