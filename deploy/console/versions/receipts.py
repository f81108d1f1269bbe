"""How a receipt of forgetting looks.

Owns words and layout. Does not know how it is made or checked.
"""

from collections.abc import Sequence

from rich.console import Console

from deploy.console.fitted import line
from deploy.console.fitted import show as show_rows
from deploy.console.words import day
from deploy.registry.receipts import Receipt, Signed, Trace
from deploy.registry.signing import name_of

SHOWN = 8  # positions of a place; the receipt has all of them


def show(console: Console, receipt: Receipt) -> None:
    """Print what was left out, and what else must be erased."""
    line(
        console,
        f"{receipt.feed} v{receipt.version} without the events of {len(receipt.ids):,} ids, of which it had learned "
        f"{len(receipt.ids) - receipt.never:,}; samples left out: {receipt.samples:,}",
    )
    line(
        console,
        f"learned again: {receipt.again:,} of {receipt.learned:,} samples, commits {receipt.first} to {receipt.last}",
    )
    line(console, f"artifact before: {receipt.before}")
    line(console, f"artifact after:  {receipt.after}")
    if receipt.erase:
        show_rows(
            console, ("what", "where", "found"), [_cells(one) for one in receipt.erase], text=("where", "found"),
            title="to be erased as well",
        )  # fmt: skip
    else:
        line(console, "nothing else holds these ids")


def show_signed(console: Console, signed: Signed, *, named: bool) -> None:
    """Print who signed it; `named` says that the caller named the key."""
    whose = "the key that you named" if named else "a key that the receipt itself names: --key FILE checks whose it is"
    at = f"{day(signed.receipt.at_ms)}, in {signed.receipt.fingerprint}"
    line(console, f"as it was signed by {name_of(signed.key)}, {whose}; made {at}")


def _cells(trace: Trace) -> Sequence[str]:
    if trace.unknown is not None:
        return trace.what, trace.where, f"not looked into: {trace.unknown}"
    more = f" and {len(trace.found) - SHOWN:,} more" if len(trace.found) > SHOWN else ""
    return trace.what, trace.where, ", ".join(trace.found[:SHOWN]) + more
