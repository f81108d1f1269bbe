"""Where silence is the negative: what each way of learning it costs, on simulated feeds whose truth is known.

`python -m benchmarks.silence [--samples N] [--seeds N]` prints a table, and one line of JSON. A window closes a day
after its prediction; outcomes that come later, within ten days, correct it. Rates drift, volume has a tenfold cycle of
a day, and of the outcomes a share comes late. Figures are millinats above the truth on days 20 to 60, and mean p over
mean y. All ways have one linear learner (constant steps), so that only what it is told differs.

Owns these feeds and ways: ω with F counted by the answer of now, as the product's network has it, and by the answer
that was sent, as its live experts do; the mean ω̄ for all alike; ω with a head that learns what comes in the window, all
of arXiv 2012.03245; corrections that cancel their negative; and DFM (Chapelle 2014). Does not know the product's loop.
"""

import argparse
import json

import numpy as np
from numpy.typing import NDArray

from benchmarks.delay import DAYS, JUDGED_FROM, Kind, days_of
from learners.live.compiled import Doubles, Ints, compiled

WINDOW, KEEP = 1.0, 10.0  # days
STEP = 0.02  # the best of 0.005 and 0.02 for each way but `cancel` where many are late
COUNTRIES = 12
MEMORY = 20_000
LATE = {"12 % late": 0.12, "58 % late": 0.58, "by a feature": 0.4, "long tails": 0.3}
WAYS = ("naive", "ω, F counted", "ω, p as sent", "ω̄, for all alike", "ω, in-window head", "cancel", "DFM", "wait 10 d")
NAIVE, COUNTED, SENT, MEAN, HEAD, CANCEL, DFM, WAIT = range(len(WAYS))
ASKED, CLOSED, CORRECTED, AGED, KEPT = range(5)  # the events of a prediction

Array = NDArray[np.float64]


def simulated(name: str, samples: int, seed: int) -> tuple[Array, Array, Array, Array]:
    """Return features (N, 14), days of predictions (N,), chances (N,), and outcomes' delays in days, inf for none."""
    draw, late = np.random.default_rng(seed), LATE[name]
    days = days_of(Kind((0, 0), busy=True), samples, draw)
    country, pages = draw.integers(0, COUNTRIES, samples), draw.normal(0, 1, samples)
    logit = -1.5 + np.linspace(-1.5, 1.5, COUNTRIES)[country] + 0.8 * pages + 0.5 * np.sin(2 * np.pi * days / 40)
    truth = 1 / (1 + np.exp(-logit))
    delay = draw.exponential(WINDOW / -np.log(late), samples)
    if name == "by a feature":
        delay *= np.exp(pages)
    if name == "long tails":  # log-normal, σ 2; z_0.7 = 0.524
        delay = WINDOW * np.exp(2 * (draw.normal(0, 1, samples) - 0.524))
    delay = np.where(draw.random(samples) < truth, np.minimum(delay, KEEP * 0.999), np.inf)
    return np.column_stack([np.eye(COUNTRIES)[country], pages, np.ones(samples)]), days, truth, delay


def events(days: Array, delay: Array, seed: int) -> tuple[Ints, Ints, Array]:
    """Return what happens in its order: which event, of which prediction, and the age at which DFM looks at each."""
    draw = np.random.default_rng(seed + 1_000)
    ages = np.exp(draw.uniform(np.log(1 / 24), np.log(KEEP), len(days)))
    late = np.isfinite(delay) & (delay > WINDOW)
    times = [days, days + WINDOW, np.where(late, days + delay, np.inf), days + ages, days + KEEP]
    order = np.argsort(np.concatenate(times), kind="stable")
    order = order[np.isfinite(np.concatenate(times)[order])]
    return order // len(days), order % len(days), ages


@compiled
def _moved(w: Doubles, x: Doubles, slope: float) -> None:
    """Take one step."""
    for i in range(len(x)):
        w[i] -= STEP * slope * x[i]


@compiled
def _sigmoid(z: float) -> float:
    return float(1 / (1 + np.exp(-min(max(z, -30.0), 30.0))))


@compiled
def answers(way: int, x: Doubles, delay: Doubles, what: Ints, of: Ints, ages: Doubles) -> Doubles:
    """Return the chance (N,) that a way gives each prediction when it is asked."""
    heads = np.zeros((2, x.shape[1]))
    joined = corrected = closed = 0.0
    found = np.zeros(len(x))
    for n in range(len(what)):
        row = x[of[n]]
        p, came = _sigmoid((heads[0] * row).sum()), delay[of[n]]
        if what[n] == ASKED:
            found[of[n]] = p
        elif what[n] == KEPT and way == WAIT:
            _moved(heads[0], row, p - np.isfinite(came))
        elif what[n] == AGED and way == DFM:
            _waiting(heads, row, p, came, ages[of[n]])
        elif way in (WAIT, DFM):
            continue
        elif what[n] == CORRECTED:
            corrected = corrected * (1 - 1 / MEMORY) + 1
            _moved(heads[0], row, -1.0 if way == CANCEL else p - 1)
        elif what[n] == CLOSED:
            within = came <= WINDOW
            inside = _sigmoid((heads[1] * row).sum())
            share, believed = joined / (joined + corrected) if joined and corrected else 1.0, p
            if way == SENT:
                believed = found[of[n]]
            if way in (COUNTED, SENT):
                inside = believed * share
            weight = (1 - max(believed, inside)) / (1 - inside) if way in (COUNTED, SENT, HEAD) else 1.0
            if way == MEAN:
                weight = 1 - corrected / closed if closed > corrected else 1.0
            closed = closed * (1 - 1 / MEMORY) + (not within)
            joined, corrected = joined * (1 - 1 / MEMORY) + within, corrected * (1 - 1 / MEMORY)
            _moved(heads[0], row, p - 1 if within else weight * p)
            _moved(heads[1], row, inside - within)
    return found


@compiled
def _waiting(heads: Doubles, x: Doubles, p: float, came: float, age: float) -> None:
    """Learn −log p − log λ + λ d of an outcome that has come, and −log(1 − p + p e^{−λ age}) of one that has not."""
    hazard = np.exp(min(max((heads[1] * x).sum(), -8.0), 8.0))
    if came <= age:
        _moved(heads[0], x, p - 1)
        _moved(heads[1], x, hazard * came - 1)
    else:
        waits = np.exp(-hazard * age)
        q = p * waits / (1 - p + p * waits)
        _moved(heads[0], x, p - q)
        _moved(heads[1], x, q * hazard * age)


def measured(name: str, samples: int, seed: int) -> list[tuple[float, float]]:
    """Return for each way the millinats above the truth, and mean p over mean y."""
    x, days, truth, delay = simulated(name, samples, seed)
    what, of, ages = events(days, delay, seed)
    judged, y, found = days >= JUDGED_FROM, np.isfinite(delay), []
    for way in range(len(WAYS)):
        p = answers(way, x, delay, what, of, ages).clip(1e-4, 1 - 1e-4)
        loss = np.log(np.where(y, truth / p, (1 - truth) / (1 - p)))[judged].mean()
        found.append((1_000 * float(loss), float(p[judged].mean() / y[judged].mean())))
    return found


def main() -> None:
    """Measure all."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.silence", description=__doc__)
    parser.add_argument("--samples", type=int, default=40_000)
    parser.add_argument("--seeds", type=int, default=3)
    asked = parser.parse_args()
    print(f"| {DAYS} days |", " | ".join(WAYS), "|\n|---|" + "---|" * len(WAYS))
    found = {}
    for name in LATE:
        runs = [measured(name, asked.samples, seed) for seed in range(asked.seeds)]
        found[name] = np.mean(runs, axis=0).tolist()
        print(f"| {name} |", " | ".join(f"{loss:.1f} ({ratio:.2f})" for loss, ratio in found[name]), "|", flush=True)
    print(json.dumps({"samples": asked.samples, "seeds": asked.seeds, "feeds": found}))


if __name__ == "__main__":
    main()
