"""What an operator does to a join from another process: audit it, end its feed, accept a loss.

Owns the commands' order of things, and what each leaves as a note. Does not know arguments, nor how results look.
"""

from collections.abc import Callable, Sequence
from pathlib import Path

import msgspec
import torch
from rich.console import Console

from deploy import pipeline
from deploy.config import Settings
from deploy.console import audit as audit_view
from deploy.learning.distiller import make_learner
from deploy.operate.attach import Place, note, opened
from deploy.operate.dead import letters
from deploy.operate.emitted import emitted
from deploy.registry.history import Rebuilt, check
from deploy.registry.learned import Learned, learned, learning
from deploy.run.partitions import catch_up
from streams import dead
from streams.audit.equations import Equation, Unbalanced, audit, known, look
from streams.audit.history import History, reread
from streams.audit.verify import Disagreement, Verdict, verify
from streams.errors import ConfigError, LogReplaced
from streams.join.lost import accept, find
from streams.join.step import ShardState
from streams.join.store import Waiting, name
from streams.kafka import Tp

EVERYTHING = 1 << 40
LOOKS = 3
IN_LINE = 10_000  # of each shard's line of windows, which is in order of arrival, the oldest are looked for
Ask = Callable[[str], bool]  # asks a yes-or-no question


def show_audit(
    path: Path,
    settings: Settings,
    *,
    compare: bool = False,
    again: bool = False,
    waiting: int = 10,
    as_json: bool = False,
) -> None:
    """Audit a feed (`compare` is the command's `--verify`, `again` is `--rebuild`) and show what was found.

    Raises:
        Unbalanced: an equation does not hold.
        Disagreement: the verifier found a difference without an explanation, or the learner's state is not what its
            commits make.
    """
    with opened(path, settings) as place:
        refused = letters(place)
        states, equations, found = _learning(place)
        report = audit_view.Report(
            feed=place.feed.name,
            audit=audit(states),
            waiting=sorted(_waiting(place, max(waiting, IN_LINE)))[:waiting],
            notes=sorted({one for shard in range(place.shards) for one in place.store.notes(place.feed.name, shard)}),
            rejected=dead.reasons(refused.values()),
            verdict=_verdict(place, states, refused) if compare else None,
            learning=equations,
            quarantined=found.quarantined if found else [],
            rebuilt=_rebuilt(path, place) if again else None,
        )
    audit_view.show(Console(stderr=as_json), report)
    if as_json:
        print(msgspec.json.encode(report).decode())  # noqa: T201 this is the output
    if not (report.audit.holds and all(one.holds for one in report.learning)):
        raise Unbalanced("an equation does not hold; the table says which")
    if report.verdict and report.verdict.differing:
        raise Disagreement(f"{report.verdict.differing} differences between what was joined and the log joined again")
    if report.rebuilt and not report.rebuilt.equal:
        raise Disagreement(f"the state of commit {report.rebuilt.last} is not what its history makes")


def end_feed(path: Path, settings: Settings, *, why: str, who: str | None = None, ask: Ask) -> None:
    """Say that no more events come: the joiners close every window once they have read all.

    Raises:
        ConfigError: there is no reason, or the answer was no.
    """
    with opened(path, settings) as place:
        said = note("end-of-feed", who, why)
        catch_up(place.feed.name, place.settings, place.store)  # what is in partitions just added belongs to it
        held = sum(place.store.shard(place.feed.name, shard).windows for shard in range(place.shards))
        _agreed(ask, f"end the feed {place.feed.name!r}? {held:,} open windows close; what comes later is not joined")
        for shard in range(place.shards):
            place.store.close_feed(place.feed.name, shard, said)


def accept_loss(
    path: Path,
    settings: Settings,
    partition: str,
    *,
    why: str,
    who: str | None = None,
    ask: Ask,
    say: Callable[[str], None],
) -> None:
    """Go on behind what retention removed before it was read; `partition` is TOPIC:NUMBER.

    Raises:
        ConfigError: nothing is lost, there is no such partition or reason, or the answer was no.
        LogReplaced: the log is another one than was read.
    """
    with opened(path, settings) as place:
        tp = _partition(place, partition)
        states = [place.store.shard(place.feed.name, shard) for shard in range(place.shards)]
        with place.source([tp]) as source:
            loss = find(states, source, tp, place.readers, place.rules)
        said = note("accept-loss", who, why, partition=loss.tp, **{"from": loss.start, "to": loss.end})
        _agreed(ask, f"{loss.tp}: {loss.lost:,} of the positions {loss.start} to {loss.end} are lost. Go on without?")
        accept(place.store, place.feed.name, loss, place.rules, said)
    say(f"{loss.tp}: {loss.lost:,} counted as lost. Joiners that ended with exit code 4 must be started again")


def _learning(place: Place) -> tuple[list[ShardState], list[Equation], Learned | None]:
    """Look at the shards, and at what was learned of them; again while the learner commits in between."""
    for _ in range(LOOKS):
        states = look(place.store, place.feed.name, place.shards)
        if not place.registry:
            return states, [], None
        found = learned(place.registry)
        equations = learning(states, found)
        if all(one.holds for one in equations):
            break
    return states, equations, found


def _rebuilt(path: Path, place: Place) -> Rebuilt:
    if not place.registry:
        raise ConfigError("--rebuild is for a pipeline.py that runs: there are no commits")
    torch.set_num_threads(1)  # as the learner does
    return check(make_learner(pipeline.load(path)), place.registry)


def _waiting(place: Place, most: int) -> list[Waiting]:
    """Give what waits, of each shard the first `most` in line."""
    return [one for shard in range(place.shards) for one in place.store.waiting(place.feed.name, shard, most)]


def _verdict(place: Place, states: Sequence[ShardState], refused: dict[str, dead.Position]) -> Verdict:
    tps = [tp for tp in place.tps if name(tp) in known(states)]
    with place.source(tps) as source:
        ranges, removed = _ranges(states, source.starts(), source.ends())
        idle_ms = round(place.settings.join.idle_s * 1_000)
        history = History(states, place.rules, idle_ms, _ended_ms(place), removed)
        reread(history, source, place.readers, ranges, dead.places(refused.values()))
    held = {one.id for one in _waiting(place, EVERYTHING) if one.state.startswith("prediction")}
    return verify(history, emitted(place), held)


def _ranges(
    states: Sequence[ShardState], starts: dict[Tp, int], ends: dict[Tp, int]
) -> tuple[dict[Tp, tuple[int, int]], list[str]]:
    """Give what the join has read of each partition, as far as it is there, and what has been removed of it."""
    ranges, removed = {}, []
    for tp, begin in starts.items():
        start, end = states[0].positions[name(tp)].start, max(state.positions[name(tp)].next for state in states)
        if ends[tp] < end:
            raise LogReplaced(f"{name(tp)}: the next offset is {end}, but the log ends at {ends[tp]}; it was replaced")
        ranges[tp] = (min(max(start, begin), end), end)
        if begin > start:
            removed.append(f"{name(tp)} from {start} to {min(begin, end)}")
    return ranges, removed


def _ended_ms(place: Place) -> int | None:
    """Give when the feed was ended by an operator."""
    notes = [msgspec.json.decode(one) for one in place.store.notes(place.feed.name, 0)]
    return min((one["at_ms"] for one in notes if one.get("what") == "end-of-feed"), default=None)


def _partition(place: Place, partition: str) -> Tp:
    for tp in place.tps:
        if name(tp) == partition:
            return tp
    raise ConfigError(f"--partition must be one of {', '.join(map(name, place.tps))}; got {partition!r}")


def _agreed(ask: Ask, question: str) -> None:
    if not ask(question):
        raise ConfigError("nothing was done")
