"""The live view and the tables of a loop: how far it is, how well its models do, its candidates and versions.

Owns layout; the words are in `words.py`. Does not know where the figures come from, nor where they are printed.
"""

from itertools import chain, product

from rich.console import Group, JustifyMethod, RenderableType
from rich.markup import escape
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from deploy.console.fitted import Fitted
from deploy.console.join.doubts import lines
from deploy.console.loop.canary import shared
from deploy.console.loop.freshness import fresh_lines
from deploy.console.words import (
    CHANGES,
    NO_YEAR,
    beside,
    cell,
    day,
    distrust_line,
    drift_line,
    drifted,
    fate_of,
    private,
    rate,
    returns,
    synced,
    title_of,
    values,
    worst_line,
)
from deploy.monitor import NO_ROW, View
from deploy.registry.notes import Metrics
from deploy.registry.pulse import PulseNote
from deploy.registry.reigns import base, promotions, syncs
from learners.evaluation.canary import ALL

DAY_MS = 86_400_000
NAMES = {  # each has what the one before it has, and one thing more
    "frozen": "frozen first model",
    "frozen_live": "with the live intercept",
    "deep": "with the promotions",
    "served": "with live experts: served",
}
SERVED = "what was served"  # where no live experts answer
SYNCED = "with promotions and syncs"
SHOWN = 10  # candidates in the live view


def draw(view: View) -> Panel:
    """Lay the live view out."""
    running = [*view.engines, *[view.live] * bool(view.live), *fresh_lines(view.freshness)]
    parts: list[RenderableType] = [_progress(view), "", _facts(view), *(Text(line) for line in running)]
    parts += [Text(line, "yellow") for line in view.trouble]
    parts += [Text(view.let_go, "dim")] if view.let_go else []
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
        *_refused(view),
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


def _refused(view: View) -> list[tuple[str, ...]]:
    """Return how much is in the dead letters, as a row of facts; none without any."""
    requests, records = view.refused, view.counters.get("rejected", 0)
    if not (requests or records):
        return []
    why = ("why", "shadowstream dead list")
    return [("requests refused", f"{requests:,}", "records rejected", f"{records:,}", *why)]


def _serving(view: View) -> str:
    if not view.champions:
        return "-"
    champion = base(view.champions)
    days = max(0, view.at_ms - champion.at_ms) // DAY_MS if champion.at_ms else None
    if champion.sync_of is not None:
        return synced(champion.number, champion.sync_of)
    said = f"v{champion.number}" if days is None else f"v{champion.number}, for {days} days"
    newest = view.champions[-1]
    return said if newest is champion else f"{said}; v{newest.number}: {shared(newest.share)}"


def _private(view: View) -> tuple[str, str]:
    told = base(view.champions).privacy if view.champions else None
    return ("privacy", private(told)) if told else ("", "")


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
        name = SYNCED if who == "deep" and syncs(view.champions) else name
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
        source = f"{c.learned:,} samples{'' if c.sync_of is not None else drifted(candidate)}"
        if c.candidate is None and c.sync_of is None:
            first = view.champions[0]
            source = (
                f"v{first.begun.version} of {first.begun.feed}"
                if first.begun
                else "elsewhere"
                if first.by
                else "history"
            )
        elif candidate and candidate.by and c.sync_of is None:
            source = f"elsewhere; {candidate.reason}"
        told = [private(c.privacy)] if c.privacy else []
        answers = [shared(c.share)] * len(shares)
        number = f"v{c.number}" if c.sync_of is None else synced(c.number, c.sync_of)
        table.add_row(number, day(c.at_ms), *answers, source, str(c.evidence), *told)
    return Fitted(table)
