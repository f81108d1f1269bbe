"""Which changes of a year of flights are named without cause, and which that are made on purpose: no services needed.

    python -m benchmarks.drift

Prints each change that is named on flights as they were, then, for each kind of injected change and field, in how many
of three places it was named within two blocks. What was answered is a logistic regression's, learned as outcomes come.
"""

import importlib.util
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn.linear_model import SGDClassifier

from learners.evaluation.drift import BLOCK, SERVED, Change, Drift
from learners.live.features.fields import Fields, fields_of

FLIGHTS = Path(__file__).parents[1] / "examples" / "flights" / "pipeline.py"
PLACES = (0.4, 0.6, 0.85)
TO_COME = 2  # blocks
AT_ONCE = 1_000


def example() -> Any:
    """Import the flights example."""
    spec = importlib.util.spec_from_file_location("flights", FLIGHTS)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def answers(module: Any, flights: pd.DataFrame) -> np.ndarray[Any, Any]:
    """Return logits (N,), each part's by what was learned of the parts before it."""
    numbers = [(flights[name] - mean) / spread for name, (mean, spread) in module.NUMBERS.items()]
    hours = pd.get_dummies(flights[["hour", "weekday", "carrier", "origin"]].astype(str)).to_numpy(float)
    x = np.nan_to_num(np.column_stack([*numbers, hours]).clip(-10, 10))
    model, found = SGDClassifier(loss="log_loss", random_state=0, alpha=1e-4), np.zeros(len(flights))
    for start in range(0, len(flights), AT_ONCE):
        part = slice(start, start + AT_ONCE)
        if start:
            found[part] = model.decision_function(x[part])
        model.partial_fit(x[part], flights.late[part], classes=[False, True])
    return found


def injections(fields: Fields) -> dict[str, tuple[tuple[str, ...], Callable[[pd.Series], Any]]]:
    """Return what is changed, in which fields, and how."""
    return {
        "another unit": (fields.numbers, lambda x: x * 1.609),
        "mean + σ/2": (fields.numbers, lambda x: x + x.std() / 2),
        "renamed": (fields.categories, lambda x: x.where(x != x.mode()[0], "another name")),
        "missing": ((*fields.numbers, *fields.categories), lambda x: [None] * len(x)),
    }


def named(flight: type, fields: Fields, flights: pd.DataFrame) -> dict[Change, int]:
    """Return every change that is named, and after how many blocks."""
    drift, found = Drift(fields), dict[Change, int]()
    rows = list(map(flight, *(flights[name].tolist() for name in flight.__annotations__)))
    answers = flights[SERVED].to_numpy()[:, None]
    for start in range(0, len(rows), AT_ONCE):
        part = slice(start, start + AT_ONCE)
        drift.add(rows[part], flights.departs_ms[part].tolist(), answers[part])
        for change in drift.changes:
            found.setdefault(change, (start + AT_ONCE) // BLOCK)
    return found


def changed(flights: pd.DataFrame, place: float, names: Sequence[str], how: Callable[[pd.Series], Any]) -> pd.DataFrame:
    """Return the flights up to some blocks after a place, from which on the fields are changed."""
    at = int(place * len(flights))
    made = flights[: (at // BLOCK + 1 + TO_COME) * BLOCK].copy()
    for name in names:
        made[name] = [*flights[name][:at], *list(how(flights[name])[at : len(made)])]
    return made


def main() -> None:
    """Print what is named without cause, and how much of what was injected is named."""
    module = example()
    fields = fields_of(module.Flight)
    flights = module.flights().query("month > 1 and arrives_ms.notna()").sort_values("arrives_ms", ignore_index=True)
    flights[SERVED] = answers(module, flights)
    found = named(module.Flight, fields, flights)
    print(f"{len(flights):,} flights, {len(found)} changes named:")
    for change in found:
        print("  ", line(change))
    for kind, (names, how) in injections(fields).items():
        counts = dict.fromkeys(names, 0)
        for place in PLACES:
            at = int(place * len(flights)) // BLOCK
            seen = named(module.Flight, fields, changed(flights, place, names, how))
            new = {change.field for change, block in seen.items() if at < block <= at + 1 + TO_COME}
            counts |= {name: counts[name] + (name in new) for name in names}
        print(f"{kind}, named of {len(PLACES)}: " + ", ".join(f"{name} {count}" for name, count in counts.items()))


def line(change: Change) -> str:
    """Return a change as one line."""
    since = datetime.fromtimestamp(change.since_ms / 1000, UTC).strftime("%Y-%m-%d")
    return f"{change.field}: {change.what} {change.distance:.2f} since {since} ({change.before:.2f} before)"


if __name__ == "__main__":
    main()
