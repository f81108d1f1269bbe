"""How a version that was made again looks.

Owns words and layout. Does not know how it is made.
"""

from rich.console import Console

from deploy.console.fitted import line
from deploy.console.versions import receipts
from deploy.operate.versions.forget import Forgotten
from deploy.operate.versions.versions import Remade


def show(console: Console, remade: Remade) -> None:
    """Print what was learned again, and how the version made of it compares."""
    since = f"from the state of commit {remade.first} to that of commit {remade.last}"
    line(console, f"v{remade.version}: learned {remade.again:,} of {remade.learned:,} samples again, {since}")
    if remade.equal:
        line(console, f"the same bits: {remade.made}")
    else:
        line(console, f"OTHER BITS: {remade.made}, and served was {remade.kept}")
        _why(console, remade)


def show_forgotten(console: Console, forgotten: Forgotten) -> None:
    """Print what a version was made without, what else must be erased, and where artifact and receipt are."""
    receipts.show(console, forgotten.receipt)
    for one in forgotten.never:
        line(console, f"never learned by v{forgotten.remade.version}: {one}")
    _why(console, forgotten.remade)
    line(console, f"written to {forgotten.out}, and {forgotten.receipt_file}, signed by {forgotten.signed_by}")


def _why(console: Console, remade: Remade) -> None:
    """Print in what environments the commits were made, and how far the answers are apart."""
    if remade.environments:
        line(console, f"commits were made in other environments: {', '.join(remade.environments)}")
    if remade.changed:
        line(console, f"other than when it was made: {', '.join(remade.changed)}")
    if remade.environments or remade.changed:
        line(console, "equal bits are promised in an equal environment only")
    if remade.apart:
        apart = ", ".join(f"{name} {'not finite' if v is None else f'{v:.3g}'}" for name, v in remade.apart.items())
        line(console, f"answers on the newest rows are apart by: {apart} (shares of the largest answer, and of rows)")
