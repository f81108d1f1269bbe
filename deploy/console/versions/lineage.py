"""How versions, their differences and answers look.

Owns words and layout. Does not know where they come from.
"""

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from deploy.console.fitted import Fitted, line
from deploy.console.loop.canary import shared
from deploy.console.words import compared, day, private, synced
from deploy.operate.versions.lineage import Answered, Difference, Shown, Version
from learners.evaluation.canary import ALL

SHOWN = 12  # tensors


def show_versions(console: Console, versions: list[Version]) -> None:
    """Print all versions."""
    table = Table(title="Versions", title_justify="left")
    for title in ("version", "serves since", "made of", "samples", "engine", "why", "signed by"):
        table.add_column(title, justify="right" if title == "samples" else "left")
    for one in versions:
        first = f"v{one.begun.version} of {one.begun.feed}" if one.begun else "elsewhere" if one.brought else "history"
        made = first if one.candidate is None else f"candidate {one.candidate}"
        made = made if one.sync_of is None else f"the average after commit {one.commit:,}"
        back = "" if one.back_to is None else f" (v{one.back_to} again)"
        why = f"{one.because} ({one.by})" if one.by else one.because or one.evidence
        share = "" if one.share == ALL else f", {shared(one.share)}"
        since = day(one.since_ms) if one.since_ms else "the start"
        number = f"v{one.version}{share}" if one.sync_of is None else synced(one.version, one.sync_of)
        cells = (number, since, made + back, f"{one.learned:,}", one.engine, why, one.signed)
        table.add_row(*map(escape, cells))
    console.print(Fitted(table))


def show_one(console: Console, shown: Shown) -> None:
    """Print what is known of one version."""
    one = shown.version
    show_versions(console, [one])
    line(
        console,
        f"artifact {one.artifact}: {compared(shown.bytes, shown.float_bytes)}, {100 * shown.sparsity:.0f} % zeros",
    )
    if one.brought:
        line(console, one.brought)
    elif one.reason:
        line(console, f"made because of: {one.reason}")
    if shown.figures:
        line(console, f"held-out loss {shown.figures.loss}, its teacher's {shown.figures.teacher_loss}")
    if shown.privacy:
        line(console, f"privacy: {private(shown.privacy)}")
    for guard in getattr(shown.proof, "guards", ()):
        line(console, f"guard rail {guard.name}: {guard.said}")
    if shown.step:
        line(console, f"its step ended {day(shown.step.at_ms)}: {shown.step}")
    for guard in shown.step.guards if shown.step else ():
        line(console, f"guard rail {guard.name} then: {guard.said}")
    for name, value in shown.manifest.items():
        line(console, f"{name}: {value}")
    for shard, (first, last) in shown.log.items():
        line(console, f"learned from: samples {first:,} to {last:,} of shard {shard}")
    for tp, (start, end) in shown.offsets.items():
        line(console, f"made of: {tp}, offsets {start:,} to before {end:,}")
    if shown.chain is None:
        line(console, f"its commit was let go: the log begins at commit {shown.begins}, so it cannot be made again")
    else:
        begin = f"commit {shown.begins}, where the log begins," if shown.begins else "the first"
        line(console, f"the chain of digests is whole: {shown.chain:,} commits, from {begin} to that of its state")
    for place, digest in shown.follows.items():
        line(console, f"follows from {place}: {digest}")


def show_difference(console: Console, found: Difference) -> None:
    """Print what is different in the second version."""
    line(console, f"v{found.a.version} and v{found.b.version}:")
    for name, (before, now) in found.changed.items():
        line(console, f"{name}: {before} -> {now}")
    far = sorted(found.weights.items(), key=lambda named: -(named[1] or 1e9))
    for name, apart in far[:SHOWN]:
        line(console, f"{name}: {'another shape' if apart is None else f'{100 * apart:.1f} % of its norm apart'}")
    if not found.changed and not far:
        line(console, "nothing: the same artifact")


def show_answer(console: Console, found: Answered) -> None:
    """Print which version answered, and what was heard."""
    show_versions(console, [found.version, *([found.canary] if found.canary else [])])
    if (asked := found.prediction) is not None:
        line(
            console,
            f"asked {day(asked.t)}, answered {asked.served}: the version {asked.output}, intercept {asked.intercept}",
        )
        if asked.experts:
            line(console, f"live experts: {asked.experts}; learned by then: {asked.learned:,} samples")
        if asked.theirs:
            line(console, f"the other system: {asked.theirs}")
    for kind, label, t_ms, commit in found.outcomes:
        line(console, f"{kind}: {label}, {day(t_ms)}, learned in commit {commit}")
    for read in found.read:
        for tp, (start, end) in read.offsets.items():
            before = f", to before {read.before[tp]:,} by the commit before" if tp in read.before else ""
            line(console, f"commit {read.commit}: {tp} was read from offset {start:,} to before {end:,}{before}")
