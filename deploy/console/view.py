"""The live view and the tables of a loop: how far it is, how well its models do, what became of each candidate.

Owns words and layout. Does not know where the figures come from, nor where they are printed.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from itertools import chain, product
from typing import NamedTuple

from rich.console import Group, JustifyMethod, RenderableType
from rich.markup import escape
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from deploy.console.canary import canary_line, shared, was_canary
from deploy.console.doubts import lines
from deploy.console.fitted import Fitted
from deploy.console.freshness import fresh_lines
from deploy.monitor import NO_ROW, View
from deploy.registry.pulse import PulseNote
from deploy.registry.records import (
    Candidate,
    Distrusted,
    MetricName,
    Metrics,
    Privacy,
    TrialNote,
    base,
    promotions,
)
from learners.evaluation.canary import ALL
from learners.evaluation.drift import Change
from learners.evaluation.verdict import THEIRS, Decision, Verdict, vetoed

DAY_MS = 86_400_000
NAMES = {  # each has what the one before it has, and one thing more
    "frozen": "frozen first model",
    "frozen_live": "with the live intercept",
    "deep": "with the promotions",
    "served": "with live experts: served",
}
SERVED = "what was served"  # where no live experts answer
SHOWN = 10  # candidates in the live view
CHANGES = 5  # fields that have changed, in the live view
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
    if served := [one.number for one in view.champions if one.candidate == candidate.number and one.back_to is None]:
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


def draw(view: View) -> Panel:
    """Lay the live view out."""
    running = [*view.engines, *[view.live] * bool(view.live), *fresh_lines(view.freshness)]
    parts: list[RenderableType] = [_progress(view), "", _facts(view), *(Text(line) for line in running)]
    parts += [Text(line, "yellow") for line in view.trouble]
    parts += ["", _models(view)]
    if view.metrics:
        parts.append(Text(_shadow(view.metrics), "dim"))
        parts += [Text(line) for line in beside(view)]
    if worst := worst_line(view.metrics):
        parts.append(Text(worst))
    parts += [Text(line, "yellow") for line in returns(view)]
    if view.drift:
        parts += ["", *(Text(f"changed: {drift_line(change)}") for change in view.drift[:CHANGES])]
    if view.distrusted:
        parts += ["", *(Text(distrust_line(one)) for one in view.distrusted[:CHANGES])]
    if view.candidates:
        parts += ["", _candidates(view)]
    if told := lines(view.warnings, view.advice, view.held):
        parts += ["", *told]
    if view.closing:
        parts += ["", Text("the feed has ended: its windows are being closed")]
    subtitle = f"running for {view.seconds:.0f} s" if view.seconds else None
    return Panel(Group(*parts), title=f"[bold]shadowstream[/bold] · {escape(view.name)}", subtitle=subtitle, padding=1)


def _progress(view: View) -> Table:
    """Lay out how far the feed is: a bar and the share of a replay, or the date alone."""
    head = Table.grid(padding=(0, 2), expand=view.share is not None)
    if view.share is None:
        head.add_row(Text("events up to", "dim"), day(view.at_ms))
        return head
    head.add_column(ratio=1)
    head.add_column(justify="right")
    head.add_row(ProgressBar(total=1.0, completed=view.share), f"{day(view.at_ms)}  {100 * view.share:5.1f} %")
    return head


def _facts(view: View) -> Fitted:
    facts = Table.grid(padding=(0, 3, 0, 0))
    rows = (
        ("events", f"{view.events:,}", "events a second", rate(view), "serving", _serving(view)),
        ("predictions answered", f"{view.served:,}", "samples learned", f"{view.learned:,}", *_promotions(view)),
        ("outcomes awaited", f"{view.waiting:,}", "samples to learn", f"{view.unread:,}", "", ""),
        ("the join lags by", f"{view.lag_ms / 3_600_000:.1f} h", *_private(view), "", ""),
        *_lags(view.pulse),
    )
    for row in rows:
        facts.add_row(*(Text(text, "bold" if n % 2 else "dim") for n, text in enumerate(row)))
    pairs = [(name, value) for row in rows for name, value in zip(row[::2], row[1::2], strict=True) if name]
    return Fitted(facts, [Text(f"{name}: {value}", overflow="fold") for name, value in pairs])


def _lags(pulse: PulseNote | None) -> list[tuple[str, ...]]:
    """Return what is in the log and not read yet, and how old the newest commit is, as a row of facts."""
    if pulse is None:
        return []
    unread = ("-" if n is None else f"{n:,}" for n in (pulse.requests_unread, pulse.outcomes_unread))
    commit = "-" if pulse.commit_s is None else f"{pulse.commit_s:.0f} s ago"
    names = ("requests unread", "outcomes unread", "last commit")
    return [tuple(chain.from_iterable(zip(names, (*unread, commit), strict=True)))]


def _serving(view: View) -> str:
    if not view.champions:
        return "-"
    champion = base(view.champions)
    days = max(0, view.at_ms - champion.at_ms) // DAY_MS if champion.at_ms else None
    said = f"v{champion.number}" if days is None else f"v{champion.number}, for {days} days"
    newest = view.champions[-1]
    return said if newest is champion else f"{said}; v{newest.number}: {shared(newest.share)}"


def _private(view: View) -> tuple[str, str]:
    told = base(view.champions).privacy if view.champions else None
    return ("privacy", private(told)) if told else ("", "")


def private(told: Privacy) -> str:
    """Return what a version's weights may tell of one sample."""
    return f"ε {told.epsilon:.2f}, δ {told.delta:g}"


def _promotions(view: View) -> tuple[str, str]:
    back = sum(champion.back_to is not None for champion in view.champions)
    text = f"{promotions(view.champions)} of {len(view.candidates)} candidates"
    return "promotions", f"{text}, {back} rolled back" if back else text


def _shown(metrics: Metrics | None) -> dict[str, str]:
    """Return the models to show, and their names: the version alone only where live experts answer, too."""
    total = metrics.total if metrics else {}
    alone = total.get("deep", NO_ROW) in (NO_ROW, total.get("served"))
    return {who: NAMES[who] for who in NAMES if who != "deep"} | {"served": SERVED} if alone else NAMES


def _models(view: View) -> Fitted:
    """Return what each part of what is served has brought, on the same samples."""
    table = Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
    total, names = (view.metrics.total, view.metrics.names) if view.metrics else ({}, ())
    for title in ("model", *map(title_of, names), "brought", "samples"):
        table.add_column(Text(title, "dim"), justify="left" if title == "model" else "right")
    before: float | None = None
    for who, name in _shown(view.metrics).items():
        row = total.get(who, NO_ROW)
        loss = row.values.get(names[0].name) if names else None
        brought = "" if loss is None or before is None else f"{before - loss:+.4f}"
        figures = (cell(row.values.get(one.name)) for one in names)
        table.add_row(name, *figures, brought, f"{row.count:,}", style="bold" if who == "served" else "")
        before = loss
    return Fitted(table)


def _shadow(metrics: Metrics) -> str:
    """Return the shadow's figures, which are no match for what was served: it knows of more outcomes."""
    return f"the shadow, asked when outcomes come: {values(metrics.total.get('shadow', NO_ROW).values)}"


def _candidates(view: View) -> Fitted:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    change = f"Δ {view.loss.name}"
    for title in ("candidate", "distilled", "what became of it", "on", change, "evidence", "samples"):
        justify: JustifyMethod = "right" if title in (change, "samples") else "left"
        table.add_column(Text(title, "dim"), justify=justify, no_wrap=title != "what became of it")
    for candidate in view.candidates[-SHOWN:]:
        text, style, date, *others = fate_of(candidate, view)
        days = day(candidate.at_ms)[NO_YEAR], date[NO_YEAR]  # the line at the top has the year; 80 columns have no room
        what = escape(f"{text}{drifted(candidate)}")
        table.add_row(str(candidate.number), days[0], what, days[1], *others, style=style)
    return Fitted(table)


def months(metrics: Metrics) -> Fitted:
    """Lay out the models by month."""
    table = Table(title="By month of prediction", title_justify="left")
    table.add_column("month")
    shown = _shown(metrics)
    for who, one in product(shown, metrics.names):
        table.add_column(f"{who.replace('_', ' ')}\n{one.name}", justify="right")
    for month, rows in [*sorted(metrics.months.items()), ("all", metrics.total)]:
        cells = [cell(rows.get(who, NO_ROW).values.get(one.name)) for who, one in product(shown, metrics.names)]
        table.add_row(month, *cells, style="bold" if month == "all" else "")
    return Fitted(table)


def slices(metrics: Metrics) -> list[Fitted]:
    """Lay out what was served by the values of each field that the user names."""
    tables = []
    for field, rows in metrics.slices.items():
        table = Table(title=f"What was served, by {field}", title_justify="left")
        for title in (field, *map(title_of, metrics.names), "samples"):
            table.add_column(escape(title), justify="left" if title == field else "right")
        for value, row in rows.items():
            cells = [cell(row.values.get(one.name)) for one in metrics.names]
            table.add_row(escape(value), *cells, f"{row.count:,}")
        tables.append(Fitted(table))
    return tables


def versions(view: View) -> Fitted:
    """Lay out the champions."""
    table = Table(title="Versions", title_justify="left")
    privacy = ["privacy"] * any(c.privacy for c in view.champions)
    shares = ["answers"] * any(c.share < ALL for c in view.champions)
    for title in ("version", "since", *shares, "learned from", "evidence", *privacy):
        table.add_column(title)
    made = {candidate.number: candidate for candidate in view.candidates}
    for c in view.champions:
        candidate = None if c.candidate is None else made.get(c.candidate)
        source = f"{c.learned:,} samples{drifted(candidate)}"
        if c.candidate is None:
            source = "elsewhere" if view.champions[0].by else "history"
        elif candidate and candidate.by:
            source = f"elsewhere; {candidate.reason}"
        told = [private(c.privacy)] if c.privacy else []
        answers = [shared(c.share)] * len(shares)
        table.add_row(f"v{c.number}", day(c.at_ms), *answers, source, str(c.evidence), *told)
    return Fitted(table)
