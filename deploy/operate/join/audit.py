"""The audit of a feed that runs, or ran, in another process: every equation, what waits, and the log joined again.

Owns gathering the parts of the report. Does not know tables.
"""

from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

import msgspec
from msgspec import Struct

from deploy.config import Settings
from deploy.monitor import counted
from deploy.operate.attach import Attached, attach
from deploy.operate.join.dead import letters
from deploy.operate.join.emitted import emitted
from deploy.registry.commits import Rebuilt
from deploy.registry.kinds import END_OF_FEED
from deploy.registry.learned import Learned, count_learned, learned_equations
from learners.commits.commit import Quarantined
from streams import dead
from streams.audit.equations import Audit, Equation, audit, known, look
from streams.audit.history import History, Joined, read_log
from streams.audit.verify import Verdict, verify
from streams.errors import Disagreement, LogReplaced, Unbalanced
from streams.join.step import ShardState
from streams.join.store import Waiting
from streams.kafka import Tp
from streams.kafka.records import tp_name

EVERYTHING = 1 << 40  # windows: more than there are
LOOKS = 3  # at the store and the commits, which are not read in the same moment
IN_LINE = 10_000  # windows of each shard among which the oldest are sought: a shard keeps them in order of arrival


class Report(Struct, frozen=True, kw_only=True):
    """All that `audit --json` prints.

    `counters` are the join's over all shards; `deploy/registry/kinds.py` explains them. `rejected` counts records
    that could not be read, by kind of reason; `notes` are what operators did, as JSON. `learning` holds the equations
    of a feed that is learned, `quarantined` the samples that could not be. `verdict` is there with `--verify`,
    `rebuilt` with `--rebuild`.
    """

    feed: str
    audit: Audit
    counters: dict[str, int]
    waiting: list[Waiting]
    notes: list[str]
    rejected: dict[str, int]
    verdict: Verdict | None
    learning: list[Equation] = []
    quarantined: list[Quarantined] = []
    rebuilt: Rebuilt | None = None

    def check(self) -> None:
        """Raise an error for the first thing that is wrong.

        Raises:
            Unbalanced: an equation does not hold.
            Disagreement: the verifier found a difference without an explanation, or the learner's state is not what its
                commits make.
        """
        if not (self.audit.holds and all(one.holds for one in self.learning)):
            raise Unbalanced("an equation does not hold; the table says which")
        if self.verdict and self.verdict.differing:
            raise Disagreement(f"{self.verdict.differing} differences between what was joined and the log joined again")
        if self.rebuilt and not self.rebuilt.equal:
            raise Disagreement(f"the state of commit {self.rebuilt.last} is not what its commits make")


def inspect(
    path: Path, settings: Settings, *, compare: bool = False, rebuild: bool = False, waiting: int = 10
) -> Report:
    """Audit a feed; `compare` joins its log again (`--verify`), `rebuild` learns its commits again (`--rebuild`).

    `waiting` is how many of the predictions and outcomes that wait longest are reported.

    Raises:
        ConfigError: the feed was never run here, or there is nothing to compare with.
        LogReplaced: a topic is not the one that was read.
    """
    with attach(path, settings) as attached:
        refused = letters(attached)
        states, equations, commits = _learning(attached)
        return Report(
            feed=attached.feed.name,
            audit=audit(states),
            counters=counted(states),
            waiting=sorted(_waiting(attached, max(waiting, IN_LINE)))[:waiting],
            notes=sorted(
                {one for shard in range(attached.shards) for one in attached.store.notes(attached.feed.name, shard)}
            ),
            rejected=dead.reasons(refused.values()),
            verdict=_verdict(attached, states, refused) if compare else None,
            learning=equations,
            quarantined=commits.quarantined if commits else [],
            rebuilt=import_module("deploy.operate.join.rebuilt").rebuilt(path, attached) if rebuild else None,
        )


def _learning(attached: Attached) -> tuple[list[ShardState], list[Equation], Learned | None]:
    """Return the shards and what was learned of them; look again where the learner has committed in between."""
    for _ in range(LOOKS):
        states = look(attached.store, attached.feed.name, attached.shards)
        if not attached.registry:
            return states, [], None
        commits = count_learned(attached.registry)
        equations = learned_equations(states, commits)
        if all(one.holds for one in equations):
            break
    return states, equations, commits


def _waiting(attached: Attached, most: int) -> list[Waiting]:
    """Return the predictions and outcomes that wait, of each shard the first `most`."""
    return [one for shard in range(attached.shards) for one in attached.store.waiting(attached.feed.name, shard, most)]


def _verdict(attached: Attached, states: Sequence[ShardState], refused: dict[str, dead.Refusal]) -> Verdict:
    tps = [tp for tp in attached.tps if tp_name(tp) in known(states)]
    with attached.source(tps) as source:
        ranges, removed = _ranges(states, source.starts(), source.ends())
        idle_ms = round(attached.settings.join.idle_s * 1_000)
        joined = Joined(states, attached.rules, idle_ms, _ended_ms(attached), removed)
        positions = dead.refused_positions(refused.values())
        history = History(joined, read_log(source, attached.readers, attached.rules, ranges, positions))
    waiting = {one.id for one in _waiting(attached, EVERYTHING) if one.state.startswith("prediction")}
    return verify(history, emitted(attached), waiting)


def _ranges(
    states: Sequence[ShardState], starts: dict[Tp, int], ends: dict[Tp, int]
) -> tuple[dict[Tp, tuple[int, int]], list[str]]:
    """Return the offsets that the join has read of each partition and that are still there, and what was removed."""
    ranges, removed = {}, []
    for tp, begin in starts.items():
        start, end = (
            states[0].partitions[tp_name(tp)].start,
            max(state.partitions[tp_name(tp)].next for state in states),
        )
        if ends[tp] < end:
            raise LogReplaced(
                f"{tp_name(tp)}: the next offset is {end}, but the log ends at {ends[tp]}; it was replaced"
            )
        ranges[tp] = (min(max(start, begin), end), end)
        if begin > start:
            removed.append(f"{tp_name(tp)} from {start} to {min(begin, end)}")
    return ranges, removed


def _ended_ms(attached: Attached) -> int | None:
    """Return when an operator ended the feed."""
    notes = [msgspec.json.decode(one) for one in attached.store.notes(attached.feed.name, 0)]
    return min((one["at_ms"] for one in notes if one.get("what") == END_OF_FEED), default=None)
