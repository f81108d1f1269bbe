"""Which version follows from a verdict, an alarm, a person's order or a sync; and when that happens by itself.

Pure functions of the versions so far. Owns what such a version's record says. Does not know files.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from msgspec.structs import replace

from deploy.registry.notes import BrokenNote, SyncNote
from deploy.registry.records import Alarm, CanaryStep, Candidate, Champion, Evidence, Order
from deploy.registry.reigns import at, barred, base, before, gated, left, reigning
from learners.commits.commit import Commit
from learners.evaluation.canary import ALL
from learners.evaluation.gate import Policy
from learners.evaluation.verdict import Decision, Verdict

Decided: TypeAlias = Champion | None  # None: nothing follows
US = "shadowstream"
DAY_MS = 86_400_000
SETTLES_MS = 2 * DAY_MS  # after a rollback: so long no version comes back by itself
LEFT = "a rollback has left it"
OFTEN, OFTEN_MS = 2, 30 * DAY_MS  # rollbacks, and within how long they make everything wait for a person


def promoted(
    verdict: Verdict, candidate: Candidate, champions: Sequence[Champion], share: float = ALL
) -> Decided:  # fmt: skip
    """Return the candidate as a version that answers a share of the requests, with its verdict as evidence.

    None if it was made one before.
    """
    if any(one.candidate == candidate.number and one.back_to is None for one in champions):
        return None
    made = _version(candidate, verdict.offset, _proof(verdict), verdict.at_ms)
    return replace(made, commit=verdict.commit, share=share)


def _proof(verdict: Verdict) -> Evidence:
    return Evidence(
        kind=verdict.kind,
        log_needed=verdict.log_needed,
        against=verdict.against,
        waiting=verdict.waiting,
        days=verdict.days,
        guards=verdict.guards,
    )


def back(alarm: Alarm, champions: Sequence[Champion]) -> Decided:
    """Return the version that an alarm says was better; None if what serves is not the alarm's any more.

    What a canary answered is answered by its base again, as that has gone on, whichever version the alarm names.
    """
    to = at(champions, alarm.back_to)
    if not reigning(champions, alarm.champion) or to is None:
        return None
    if champions[-1].share < ALL:
        return _returned(base(champions), alarm)
    return replace(_returned(to, alarm), offset=alarm.offset)


def sighted(
    note: BrokenNote, champions: Sequence[Champion], alarms: Sequence[Alarm], at_ms: int, commit: int
) -> Alarm | None:
    """Return the alarm of what a server has seen; None if that version does not serve, or there is one of it."""
    to = at(champions, note.before)
    if to is None or note.before >= note.version or not reigning(champions, note.version):
        return None
    if any(one.kind == "guard" and reigning(champions, one.champion) for one in alarms):
        return None
    return Alarm(
        number=len(alarms), champion=note.version, back_to=to.number, old=False, detector=note.guard.name, log_r=0.0,
        log_needed=0.0, samples=note.rows, gain=0.0, since_ms=at_ms, offset=to.offset, at_ms=at_ms, commit=commit,
        kind="guard", guard=note.guard,
    )  # fmt: skip


def stepped(step: CanaryStep, champions: Sequence[Champion], share: float) -> Decided:
    """Return the canary with its next share, or its base where it has broken a guard rail; None if it is gone."""
    now = champions[-1]
    if now.number != step.version or now.share == ALL:
        return None
    if not step.passed:
        return _returned(base(champions), step)
    words = {"by": "", "because": str(step), "order": None}
    return replace(now, share=share, at_ms=step.at_ms, commit=step.commit, **words)


def synced(note: SyncNote, champions: Sequence[Champion], commit: Commit) -> Decided:
    """Return the shadow's average, as it was after a commit, as a version; None where none serves, or a later one does.

    It serves in the place of the newest version that was tested, or put there by a person, and of none that came back.
    """
    now, of = champions[-1], gated(champions)
    if note.of != of.number or of.back_to is not None or of.share < ALL:
        return None
    if now.sync_of is not None and note.commit <= (now.commit or 0):
        return None
    return replace(
        of, artifact=note.artifact, offset=note.offset, at_ms=commit.watermark_ms, engine=note.engine,
        learned=commit.learned, evidence=f"the average after commit {note.commit}, untested", commit=note.commit,
        by="", because="", order=None, sync_of=of.number,
    )  # fmt: skip


def _returned(to: Champion, why: Alarm | CanaryStep) -> Champion:
    """Return a version that comes back."""
    return replace(
        to, at_ms=why.at_ms, evidence=str(why), commit=why.commit, back_to=to.number, by=US, because=str(why),
        order=None, share=ALL,
    )  # fmt: skip


def ordered(
    order: Order,
    champions: Sequence[Champion],
    candidate: Candidate | None,
    now_ms: int,
    verdict: Verdict | None = None,
) -> Decided:
    """Return the version that a person wants from `now_ms` on; None if there is none, or it was made before.

    A candidate that is proven, by its `verdict`, has its offset and its evidence from there.
    """
    if order.what in ("pause", "resume") or any(one.order == order.number for one in champions):
        return None
    now = champions[-1]
    words = {"by": order.who, "because": order.why, "order": order.number, "commit": None, "share": ALL}
    if order.candidate is not None:
        evidence: Evidence | str = f"promoted by {order.who}: {order.why}"
        offset = now.offset
        if verdict and verdict.decision is Decision.PROVEN:
            evidence, offset = _proof(verdict), verdict.offset
        return replace(_version(candidate, offset, evidence, now_ms), **words) if candidate else None
    number = before(champions) if order.version is None else order.version
    to, back_to = None if number is None else at(champions, number), number if order.what == "rollback" else None
    if to is None or to.sync_of is not None:
        return None
    return replace(to, at_ms=now_ms, back_to=back_to, evidence=f"{order.what} by {order.who}: {order.why}", **words)


def _version(candidate: Candidate, offset: tuple[float, ...], evidence: Evidence | str, at_ms: int) -> Champion:
    return Champion(
        number=-1,
        artifact=candidate.artifact,
        candidate=candidate.number,
        offset=offset,
        at_ms=at_ms,
        learned=candidate.learned,
        engine=candidate.engine,
        privacy=candidate.privacy,
        evidence=evidence,
    )


@dataclass
class Rules:
    """What happens by itself, under a policy, after a person's `pause` or `resume`."""

    policy: Policy
    paused: bool = False
    resumed: int = -1  # the learner's newest commit when a person said so last

    def hear(self, order: Order) -> None:
        """Take a person's order."""
        if order.what in ("pause", "resume"):
            self.paused = order.what == "pause"
            self.resumed = self.resumed if self.paused else order.commit

    def waits(self, champions: Sequence[Champion]) -> str:
        """Return why a person is waited for, "" if nobody is."""
        if self.paused:
            return "paused"
        if self.policy == "approval":
            return "Promotion(policy='approval')"
        went_back = [one for gone, one in left(champions) if one.by == US and gone.sync_of is None]
        since = [one.at_ms for one in went_back if (one.commit or 0) > self.resumed]
        often = len(since) >= OFTEN and since[-1] - since[-OFTEN] <= OFTEN_MS
        return f"{OFTEN} rollbacks within {OFTEN_MS // DAY_MS} days; `shadowstream resume` goes on" if often else ""

    def heeds(self, alarm: Alarm, champions: Sequence[Champion]) -> bool:
        """Return whether a version goes back by itself because of an alarm; what is broken goes back at once.

        So does a canary, whoever is waited for: what serves stays. So does a sync: what was tested comes back.
        """
        if alarm.kind == "mismatch":
            return False
        now = champions[-1]
        if now.share < ALL or (now.sync_of is not None and now.sync_of == alarm.back_to):
            return True
        last = next((one for one in reversed(champions) if one.back_to is not None), None)
        settling = last is not None and alarm.at_ms - last.at_ms < SETTLES_MS
        to = at(champions, alarm.back_to)
        settled = not settling or alarm.kind == "guard"
        return settled and not self.waits(champions) and not (to and to.artifact in barred(champions))

    def holds(self, artifact: str, champions: Sequence[Champion]) -> str:
        """Return why an artifact that is proven waits for a person, "" if it takes over by itself."""
        return self.waits(champions) or (LEFT if artifact in barred(champions) else "")
