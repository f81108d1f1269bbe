"""Ranges that `Trust()` finds by itself: how often it is wrong on honest feeds, and how soon it finds a forged slice.

`python -m benchmarks.poison.alarms [--data FOLDER] [--only FEED ...] [--slices N]`. Trust follows each feed's outcomes
in the order in which they landed; nothing else learns. First as they are: what is held then is a false alarm, or a
change that only a person could know. Then, from the middle of the feed on, the labels of one slice are turned: N tenths
of numbers, and N values of categories that are 5 to 20 % of the rows, drawn at random. A slice is found when a range is
held more than half of whose outcomes are forged. Owns the slices and the table. Does not know how trust works.
"""

import argparse
import json
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import median
from typing import Any

import msgspec
import numpy as np
from msgspec import Raw

from benchmarks.learners.feeds import DAY_MS, STREAMS, Missing, Stream
from benchmarks.peers.replay import NEVER_MS
from learners.labels.make import running_trust
from learners.labels.settings import Trust
from learners.labels.sources import value_at
from learners.live.features.fields import fields_of
from learners.tasks.binary import Binary
from streams.events import Prediction, Sample

AT_ONCE = 500
TURNED_DAYS = 75  # of a slice's attack, in which it counts as found, and what is held is counted


class Log:
    """A feed's outcomes as they landed."""

    def __init__(self, stream: Stream) -> None:
        landed = sorted((ms, row) for row, ms in enumerate(stream.known_ms) if ms < NEVER_MS)
        self.rows = [stream.rows[row] for _, row in landed]
        self.samples = [self._sample(stream, row, ms) for ms, row in landed]
        self.days = np.maximum.accumulate([one.prediction.t for one in self.samples]) / DAY_MS

    def follow(self, turned: Any) -> tuple[dict[int, str], float]:
        """Return which samples are held, by which range, and the seconds that trust took."""
        trust, held, began = running_trust(Trust(), Binary(), type(self.rows[0])), dict[int, str](), time.process_time()
        flipped = [
            msgspec.structs.replace(one, label=1 - one.label) if turn else one  # type: ignore[operator]
            for one, turn in zip(self.samples, turned.tolist(), strict=True)
        ]
        for start in range(0, len(flipped), AT_ONCE):
            part = slice(start, start + AT_ONCE)
            held |= {start + hold.at: hold.source for hold in trust.follow(flipped[part], self.rows[part])}
        return held, time.process_time() - began

    @staticmethod
    def _sample(stream: Stream, row: int, ms: int) -> Sample:
        asked = Prediction(str(row), stream.t_ms[row], 0, (0.0,), (0.0,), 0, Raw(b"{}"))
        return Sample(asked.id, "joined", 0, asked.t, stream.labels[row], ms, asked)


def slices(rows: Sequence[Any], count: int, random: Any) -> Iterator[tuple[str, Any]]:
    """Yield names and masks of slices: tenths of numbers, and values of categories."""
    fields = fields_of(type(rows[0]))
    tenths, values = list[tuple[str, Any]](), list[tuple[str, Any]]()
    for name in fields.numbers:
        column = np.array([np.nan if (one := value_at(row, name)) is None else float(one) for row in rows])
        low = float(random.uniform(0, 0.9))
        first, last = np.nanquantile(column, [low, low + 0.1])
        tenths.append((f"{name} {first:.4g} to {last:.4g}", (column >= first) & (column <= last)))
    for name in fields.categories:
        texts = np.array([str(value_at(row, name)) for row in rows])
        for value in np.unique(texts):
            values.append((f"{name}={value}", texts == value))
    for kind in (tenths, values):
        fit = [one for one in kind if 0.05 < one[1].mean() < 0.2]
        yield from (fit[at] for at in sorted(random.permutation(len(fit))[:count]))


def honest(log: Log) -> dict[str, Any]:
    """Return what is held of a feed as it is."""
    held, seconds = log.follow(np.zeros(len(log.samples), bool))
    years = float(log.days[-1] - log.days[0]) / 365
    starts = [at for at, name in held.items() if not any(held.get(n) == name for n in range(max(0, at - 20_000), at))]
    return {"samples": len(log.samples), "years": years, "alarms": len(starts), "held": len(held) / len(log.samples),
            "names": [held[at] for at in starts], "us_a_sample": 1e6 * seconds / len(log.samples)}  # fmt: skip


def attacked(log: Log, mask: Any) -> dict[str, Any]:
    """Return how soon a slice is found whose labels are turned from the middle on, and what was held of the rest."""
    middle = len(log.samples) // 2
    after = np.arange(len(log.samples)) >= middle
    held, _ = log.follow(mask & after)
    window = after & (log.days < log.days[middle] + TURNED_DAYS)
    forged, names = mask & window, {name for at, name in held.items() if window[at]}
    of = {name: [at for at, one in held.items() if one == name and window[at]] for name in names}
    found = [min(ats) for ats in of.values() if mask[ats].mean() > 0.5]
    which = np.isin(np.arange(len(mask)), list(held))
    days = float(log.days[min(found)] - log.days[middle]) if found else None
    return {"days": days, "held": float(which[forged].mean()) if forged.any() else 0.0,
            "wrong": float(which[window & ~mask].mean())}  # fmt: skip


def main() -> None:
    """Run all, and print a table and one line of JSON."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.poison.alarms")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--only", nargs="*", default=[])
    parser.add_argument("--slices", type=int, default=8)
    parser.add_argument("--seed", type=int, default=0)
    asked, out = parser.parse_args(), dict[str, Any]()
    for name, read in STREAMS.items():
        if asked.only and name not in asked.only:
            continue
        try:
            log = Log(read(asked.data))
        except Missing as missing:
            print(f"{name:10}left out: {missing}")
            continue
        one = out[name] = {"honest": honest(log), "slices": dict[str, Any]()}
        quiet = one["honest"]
        print(f"{name:10}{quiet['samples']:8,} in {quiet['years']:.1f} years: {quiet['alarms']} alarms, "
              f"{quiet['held']:.1%} held, {quiet['us_a_sample']:.1f} µs each {quiet['names']}", flush=True)  # fmt: skip
        for slice_name, mask in slices(log.rows, asked.slices, np.random.default_rng(asked.seed)):
            found = one["slices"][slice_name] = attacked(log, mask)
            days = "never" if found["days"] is None else f"{found['days']:.1f} days"
            print(f"    {slice_name:40}{days:>10}{found['held']:7.0%} of it held, {found['wrong']:.1%} of the rest")
        days = [found["days"] for found in one["slices"].values()]
        if days:
            soon = sum(day is not None and day <= 14 for day in days)
            known = [day for day in days if day is not None]
            print(f"    {soon} of {len(days)} within 14 days, half of those found within {median(known or [-1]):.1f}")
    print(json.dumps(out))


if __name__ == "__main__":
    main()
