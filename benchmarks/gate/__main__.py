"""Run it: `python -m benchmarks.gate [gate | back] [--quick]` prints tables, and one line of JSON. No services needed.

Takes some twenty minutes of one core, two with `--quick`. `gate` or `back`: one half of it.
"""

import argparse
import json
from typing import Any

import numpy as np

from benchmarks.gate import promoting, returning
from benchmarks.gate.differences import Siblings, siblings

WORSE = (0.1, 0.2, 0.5, 1.0)


def gate(feed: Siblings, *, quick: bool) -> dict[str, Any]:
    """Print and return how often each rule promotes an equal candidate, and how soon a better one."""
    runs, names, found = (40, 1_000)[not quick], [*promoting.OTHERS, *promoting.OURS, promoting.BOTH], dict[str, Any]()
    print(f"\n| equal candidates, {runs} runs, share promoted at α = {promoting.ALPHA} |", " | ".join(names), "|")
    print("|---|" + "---|" * len(names))
    for kind, case in promoting.cases(feed).items():
        found[kind] = shares = promoting.promoted(case, runs)
        cells = [f"{shares[name]:.3f}{'*' * (name in case.claims)}" if name in shares else "" for name in names]
        print(f"| {kind} |", " | ".join(cells), "|", flush=True)
    print("\n*: the rule claims its level here. Each is looked at after every sample, L after every day.")
    names = [*promoting.OTHERS, "W", "W in the design"]
    print("\n| samples to prove, medians |", " | ".join(names), "|\n|---|" + "---|" * len(names))
    for kind, stated in promoting.STATED.items():
        for gain, most in zip(promoting.GAINS, stated, strict=True):
            counts = promoting.needed(feed, kind, gain, runs // 5) | {"W in the design": most}
            found[f"{kind}, {gain:.1%}"] = {name: _plain(at) for name, at in counts.items()}
            print(f"| {kind}, {gain:.1%} |", " | ".join(f"{counts[name]:,.0f}" for name in names), "|", flush=True)
    return found


def back(feed: Siblings, *, quick: bool) -> dict[str, Any]:
    """Print and return how often equal versions are taken for worse, and how soon worse ones are seen."""
    years, runs = (20, 40) if quick else (1_000, 200)
    print(f"\n| days | false alarms a year: days' spread 3 %, {years} years | 6 %, {years // 10} |", end="")
    print(*(f" +{worse:.0%} seen after (90 %) |" for worse in WORSE), sep="")
    print("|---|---|---|" + "---|" * len(WORSE))
    found = dict[str, Any]()
    for kind in returning.KINDS:
        usual, wide = returning.simulated(kind, 0.03, years), returning.simulated(kind, 0.06, years // 10)
        seen = [returning.samples(kind, worse, runs) for worse in WORSE]
        cells = [f"{one.rate:.3f} ({one.fast} fast, {one.daily} daily)" for one in (usual, wide)]
        print(f"| {kind} |", " | ".join(cells + [f"{half:,.0f} ({most:,.0f})" for half, most in seen]), "|", flush=True)
        found[kind] = {
            "a_year": usual.rate,
            "a_year_wide": wide.rate,
            "seen": {worse: [*map(_plain, both)] for worse, both in zip(WORSE, seen, strict=True)},
        }
    print("\n| real: weekly siblings on flights, the champion beside one | years | false alarms |\n|---|---|---|")
    for kind, year in returning.real(feed):
        print(f"| {kind} | {year.years:.1f} | {year.fast + year.daily} |", flush=True)
        found[kind] = {"years": year.years, "alarms": year.fast + year.daily}
    for worse in WORSE:
        half, most = returning.real_samples(feed, worse)
        print(f"{worse:.0%} worse by noise on the logits: seen after {half:,.0f} (90 %: {most:,.0f})", flush=True)
        found[f"real +{worse:.0%}"] = [_plain(half), _plain(most)]
    return found


def _plain(count: float) -> float | None:
    """Return what JSON has for a number of samples; None if it is more than were shown."""
    return count if np.isfinite(count) else None


HALVES = {"gate": gate, "back": back}


def main() -> None:
    """Measure all."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gate", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="few runs")
    parser.add_argument("half", nargs="?", choices=HALVES, help="both, if none is named")
    asked = parser.parse_args()
    feed = siblings()
    halves = [asked.half] if asked.half else list(HALVES)
    found = {half: HALVES[half](feed, quick=asked.quick) for half in halves}
    print(json.dumps({"quick": asked.quick} | found))


if __name__ == "__main__":
    main()
