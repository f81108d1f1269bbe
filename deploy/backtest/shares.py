"""The policies shared out to processes, one a core: each takes the record for its own.

Owns these processes. Does not know what they decide.
"""

import os
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path

import msgspec

from deploy.backtest.decided import Decided, Span
from deploy.backtest.policies import Policy
from deploy.backtest.worker import MODULE, Work
from deploy.config import Settings
from deploy.embedded.child import Child
from deploy.registry.storage.home import Home

EVERY_S = 0.2  # how often it is looked whether they have ended


def decide(
    path: Path, settings: Settings, home: Home, policies: Sequence[Policy], span: Span
) -> list[Decided]:  # fmt: skip
    """Return what each policy decides on the record of a feed, told of a span.

    Raises:
        ShadowstreamError: that of a process.
    """
    count = min(len(policies), os.cpu_count() or 1)
    with tempfile.TemporaryDirectory() as place, ExitStack() as ending:
        children = list[Child[Work]]()
        for n in range(count):
            work = Work(
                path=str(path), settings=settings, home=home, policies=list(policies[n::count]), span=span,
                out=f"{place}/{n}.json",
            )  # fmt: skip
            children.append(Child(MODULE, "backtest", work, Path(place) / f"{n}.log"))
            ending.callback(children[n].wait, 0.0)
            ending.callback(children[n].leave)
        while any(code is None for code in [child.exit_code for child in children]):
            _check(children)
            time.sleep(EVERY_S)
        _check(children)
        found = [msgspec.json.decode(Path(child.work.out).read_bytes(), type=list[Decided]) for child in children]
    return [found[n % count][n // count] for n in range(len(policies))]


def _check(children: Sequence[Child[Work]]) -> None:
    for child in children:
        if child.exit_code:
            raise child.error()
