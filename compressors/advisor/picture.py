"""The advisor's trials as a plot: loss against latency and against bytes, with the front and the pick.

Owns the plot, which needs the extra `advisor` (matplotlib). Does not know how trials are made.
"""

import math
from importlib.util import find_spec
from pathlib import Path

from compressors.advisor.advise import Advice
from compressors.advisor.search import Trial

ENDINGS = (".png", ".svg", ".pdf")


def check(path: Path) -> None:
    """Refuse a file that `draw` cannot draw to, before a search whose trials it is for.

    Raises:
        ImportError: matplotlib is not installed; the message says how to install it.
        ValueError: an ending that is not one of ENDINGS.
    """
    if find_spec("matplotlib") is None:
        raise ImportError("a picture needs matplotlib: pip install 'shadowstream[advisor]'")
    if path.suffix.lower() not in ENDINGS:
        raise ValueError(f"a picture's file ends in {', '.join(ENDINGS)}, got {path}")


def draw(advice: Advice, path: Path) -> None:
    """Draw the trials to a file; its ending names the format.

    Raises:
        ImportError, ValueError: as `check`.
        OSError: the file cannot be written.
    """
    check(path)
    from matplotlib.figure import Figure  # noqa: PLC0415 an extra

    figure = Figure(figsize=(11, 5), layout="constrained")
    sound = [t for t in advice.trials if not t.refused and math.isfinite(t.loss)]
    for axes, name, unit in zip(figure.subplots(1, 2), ("latency_us", "bytes"), ("µs a call", "bytes"), strict=True):
        for trials, marker, label in (
            ([t for t in sound if t not in advice.front], "o", "tried"),
            (sorted(advice.front, key=lambda t: getattr(t, name)), "s", "no other is better in all"),
            ([advice.pick] if advice.pick else [], "*", "the pick"),
            ([advice.plain], "x", "the model as it is"),
        ):
            axes.scatter(*_points(trials, name), marker=marker, label=label, s=160 if marker == "*" else 25)
        axes.set(xlabel=unit, ylabel="loss above the model's own", xscale="log")
        axes.grid(alpha=0.3)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside upper center", ncols=4)
    figure.savefig(path)


def _points(trials: list[Trial], name: str) -> tuple[list[float], list[float]]:
    return [getattr(t, name) for t in trials], [t.loss for t in trials]
