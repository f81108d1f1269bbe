"""What became of candidates, versions and fields, in words.

Owns the words. Does not know tables, nor where they are printed.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import NamedTuple

from deploy.console.loop.canary import canary_line, was_canary
from deploy.monitor import View
from deploy.registry.notes import Distrusted, MetricName, Metrics, TrialNote
from deploy.registry.records import Candidate, Privacy
from learners.evaluation.canary import ALL
from learners.evaluation.drift import Change
from learners.evaluation.verdict import THEIRS, Decision, Verdict, vetoed

CHANGES = 5  # fields that have changed
NO_YEAR = slice(5, None)  # of a date
ENDED = {
    Decision.FUTILE: "refused: unlikely to win",
    Decision.NOT_PROVEN: "refused: not proven in time",
    Decision.SAME: "the champion already",
    Decision.SUPERSEDED: "replaced by the next",
}


class Fate(NamedTuple):
    """What became of a candidate, in words, and when; `loss` is by how much its loss differs from the served one's."""

    text: str
    style: str = ""
    date: str = ""
    loss: str = ""
    evidence: str = ""
    samples: str = ""


def day(t_ms: int) -> str:
    """Return the UTC date."""
    return datetime.fromtimestamp(t_ms / 1000, UTC).strftime("%Y-%m-%d") if t_ms > 0 else "the start"


def cell(value: float | None) -> str:
    """Return a metric with four decimals."""
    return "-" if value is None else f"{value:.4f}"


def compared(stored_bytes: int, float_bytes: int) -> str:
    """Return a stored size beside that in float, in words."""
    times = float_bytes / stored_bytes
    factor = f"{times:.1f} times smaller" if times >= 1 else f"{1 / times:.1f} times larger"
    return f"{stored_bytes:,} bytes, in float {float_bytes:,}: {factor}"


def title_of(metric: MetricName) -> str:
    """Return a metric's name with its unit."""
    return f"{metric.name}, {metric.unit}" if metric.unit else metric.name


def synced(version: int, of: int) -> str:
    """Return what a version is that is the newest sync of another one.

    >>> synced(352, of=12)
    'v352, sync 340 of v12'
    """
    return f"v{version}, sync {version - of:,} of v{of}"


def rate(view: View) -> str:
    """Return events a second as text."""
    return "-" if view.events_per_second is None else f"{view.events_per_second:,.0f}"


def fate_of(candidate: Candidate, view: View) -> Fate:
    """Return what became of a candidate, with its test's evidence."""
    if candidate.refused:
        return Fate(f"refused: {candidate.refused}", "dim")
    verdict = view.verdicts.get(candidate.number)
    trial = next((one for one in view.trials if one.candidate == candidate.number), None)
    if verdict is not None:
        number = next((c.number for c in view.champions if c.candidate == candidate.number and c.share == ALL), None)
        proven = verdict.decision is Decision.PROVEN
        return Fate(
            text=(was_canary(candidate, view) if number is None else "") or ended(verdict, number),
            style="green" if proven else "dim",
            date=day(verdict.at_ms),
            loss=f"{-verdict.gain:+.4f}" if verdict.samples else "",
            evidence=f"e^{verdict.log_wealth:.1f} of e^{verdict.log_needed:.1f}",
            samples=f"{verdict.samples:,}",
        )
    if trial:
        evidence = f"e^{trial.log_wealth:.1f} of e^{trial.log_needed:.1f}"
        return Fate(tested(trial), "cyan", evidence=evidence, samples=f"{trial.samples:,}")
    return Fate("waits for its test")


def drifted(candidate: Candidate | None) -> str:
    """Return why a candidate was made before its time, to be added to a line; nothing for the others."""
    return "" if candidate is None or candidate.since_ms is None else f"; {candidate.why}"


def born(candidate: Candidate) -> str:
    """Return how a candidate came to be, in words."""
    return candidate.reason if candidate.by else f"distilled{drifted(candidate)}"


def tested(trial: TrialNote) -> str:
    """Return how far a candidate's test is, in words.

    >>> tested(TrialNote(2, 1_280, 1.7, 3.9, against=1, waiting=3_200, days=4.4))
    'being tested against v1, 3,200 outcomes awaited, about 4 days to go'
    """
    parts = [f"being tested against v{trial.against}"]
    parts += [f"{trial.waiting:,} outcomes awaited"] * bool(trial.waiting)
    parts += [f"about {max(1, round(trial.days))} days to go"] if trial.days is not None else []
    return ", ".join(parts)


def ended(verdict: Verdict, number: int | None) -> str:
    """Return how a candidate's test ended, in words; it became version `number`."""
    if verdict.lost_to is not None:
        return f"left for candidate {verdict.lost_to}"
    if verdict.until_ms is not None:
        return f"over the year's budget until {day(verdict.until_ms)}"
    if verdict.decision is Decision.VETOED:
        return f"vetoed: {vetoed(verdict.guards)}"
    if number is None and verdict.waits:
        return f"proven better, and waits: {verdict.waits}"
    return ENDED.get(verdict.decision, "proven better" if number is None else f"became v{number}")


def values(row: Mapping[str, float | None]) -> str:
    """Return a model's metrics as one line."""
    return ", ".join(f"{name} {cell(value)}" for name, value in row.items()) or "not measured yet"


def fate_line(candidate: Candidate, view: View) -> str:
    """Return what became of a candidate as one line."""
    fate, loss = fate_of(candidate, view), view.loss
    date = f" on {fate.date}" if fate.date else ""
    if not fate.samples:
        return f"{fate.text}{date}"
    gain = f"{loss.name} {fate.loss}{f' {loss.unit}'.rstrip()} a sample, " if fate.loss else ""
    return f"{fate.text}{date}: {gain}evidence {fate.evidence} after {fate.samples} samples"


def beside(view: View) -> list[str]:
    """Return what another system answered on the same requests, and how much better ours are."""
    if view.metrics is None or (theirs := view.metrics.total.get(THEIRS)) is None:
        return []
    lines = [f"the other system: {values(theirs.values)}"]
    if view.beside is not None:
        one, note = view.beside.against, view.beside
        between = f" ({one.interval[0]:+.4f} to {one.interval[1]:+.4f})" if one.interval else ""
        fate = (
            f"would have taken over on {day(note.since_ms)}"
            if note.since_ms
            else (f"evidence e^{min(one.log_wealth, one.log_lasting):.1f} of e^{note.log_needed:.1f}")
        )
        lines.append(f"ours gain {one.gain:+.4f}{between} {view.loss.unit} a request over {one.samples:,}: {fate}")
    return lines


def returns(view: View) -> list[str]:
    """Return a line for each candidate that a person brought, and each version that came back, newest last; and one for
    a canary, and for what a person is waited for.
    """
    brought = [_brought(view, one) for one in view.candidates if one.by]
    back = [
        f"v{one.number} is v{one.back_to} again since {day(one.at_ms)}: {one.because}"
        for one in view.champions
        if one.back_to is not None
    ]
    now = view.champions[-1].number if view.champions else -1
    alarms = [alarm for alarm in view.alarms if alarm.champion == now]
    other = [f"{alarm}; torch serves it" for alarm in alarms if alarm.kind == "mismatch"]
    worse = [alarm for alarm in alarms if alarm.kind != "mismatch" and view.waits]
    asked = [f"{alarm}; `shadowstream rollback` goes back" for alarm in worse]
    waits = [f"versions wait for a person: {view.waits}"] if view.waits else []
    return brought[-CHANGES:] + back[-CHANGES:] + asked[-1:] + other[-1:] + canary_line(view) + waits


def _brought(view: View, candidate: Candidate) -> str:
    """Return what became of a candidate that a person brought."""
    verdict, said = view.verdicts.get(candidate.number), "it is tested"
    if served := [one.number for one in view.champions if one.candidate == candidate.number]:
        said = f"it served, as v{served[0]}"
    elif verdict:
        said = f"refused: {verdict.decision.value} after {verdict.samples:,} samples"
    return f"candidate {candidate.number}, by {candidate.by} ({candidate.reason}): {said}"


def drift_line(change: Change) -> str:
    """Return a field's change as one line."""
    return (
        f"{change.field}: {change.what} {change.distance:.2f} since {day(change.since_ms)} ({change.before:.2f} before)"
    )


def distrust_line(one: Distrusted) -> str:
    """Return a source that is held as one line."""
    until = f"until {day(one.until_ms)} if nobody judges it" if one.until_ms else "until it is released"
    return f"held: outcomes of {one.source} since {day(one.since_ms)}, {until}; `shadowstream held` lists them"


def worst_line(metrics: Metrics | None) -> str | None:
    """Return the worst slice as one line; None if there is none."""
    if metrics is None or metrics.worst is None:
        return None
    field, value, name = metrics.worst.field, metrics.worst.value, metrics.names[0].name
    row, whole = metrics.slices[field][value], metrics.total["served"]
    loss, usual = (cell(one.values[name]) for one in (row, whole))
    return f"worst slice: {field} {value}, {name} {loss} over {row.count:,} samples, {usual} over all"


def private(told: Privacy) -> str:
    """Return what a version's weights may tell of one sample."""
    return f"ε {told.epsilon:.2f}, δ {told.delta:g}"
