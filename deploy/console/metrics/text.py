"""A look as Prometheus reads it (text format, version 0.0.4). Does not know how it is fetched."""

import math
from collections.abc import Iterator, Mapping

from deploy.console.metrics.families import UP, UP_MEANS, Seen, told
from deploy.monitor import View

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def text(feed: str, look: Seen | None) -> str:
    r"""Return a look as text; without one, that there is none.

    >>> print(text("visits", None), end="")
    # HELP shadowstream_up 1 where the feed's store and registry answered this look, else 0, and nothing else is told
    # TYPE shadowstream_up gauge
    shadowstream_up{feed="visits"} 0
    """
    return "".join(f"{line}\n" for line in _lines(feed, look))


def name_of(look: Seen) -> str:
    """Return the feed's name."""
    return look.name if isinstance(look, View) else look.feed


def _lines(feed: str, look: Seen | None) -> Iterator[str]:
    yield from _head(UP, "gauge", UP_MEANS)
    yield _line(UP, {"feed": feed}, 0.0 if look is None else 1.0)
    for name, kind, means, samples in told(look) if look is not None else ():
        lines = [_line(name, {"feed": feed} | labels, value) for labels, value in samples if value is not None]
        if lines:
            yield from _head(name, kind, means)
            yield from lines


def _head(name: str, kind: str, means: str) -> Iterator[str]:
    yield f"# HELP {name} {_escaped(means)}"
    yield f"# TYPE {name} {kind}"


def _line(name: str, labels: Mapping[str, str], value: float) -> str:
    pairs = ",".join(f'{label}="{_quoted(of)}"' for label, of in labels.items())
    return f"{name}{{{pairs}}} {_number(value)}"


def _escaped(words: str) -> str:
    return words.replace("\\", r"\\").replace("\n", r"\n")


def _quoted(words: str) -> str:
    return _escaped(words).replace('"', r"\"")


def _number(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return str(int(value)) if value == int(value) else repr(float(value))
