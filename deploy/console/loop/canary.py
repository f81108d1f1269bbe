"""How a canary looks: which share of the requests it answers, and how far its step is.

Owns words. Does not know where the figures come from.
"""

from deploy.monitor import View
from deploy.registry.records import Candidate
from deploy.registry.reigns import base
from learners.evaluation.canary import ALL


def was_canary(candidate: Candidate, view: View) -> str:
    """Return what became of a candidate that has answered a share of the requests alone; "" if it has not."""
    own = [one for one in view.champions if one.candidate == candidate.number]
    if not own:
        return ""
    now = own[-1].number == view.champions[-1].number
    return f"canary v{own[-1].number}{f', {shared(own[-1].share)}' if now else ': ended'}"


def shared(share: float) -> str:
    """Return a share of the requests in words."""
    return f"{100 * share:g} % of requests"


def canary_line(view: View) -> list[str]:
    """Return how far the step of a canary is, if one serves."""
    note, now = view.canary, view.champions[-1] if view.champions else None
    if not (note and now and now.share < ALL):
        return []
    line = (
        f"canary: v{now.number} answers {shared(now.share)}, v{base(view.champions).number} the others; its step: "
        f"{note.own:,} of {note.needed:,} outcomes of its own, or {note.days:.1f} of {note.needed_days:g} days of them"
    )
    return [f"{line}; gain {note.gain:+.4f} {view.loss.unit}".rstrip() + f" a sample over {note.samples:,}"]
