"""Bandits with and without live experts, on a made-up feed whose truth is known: what their policies bring.

`python -m benchmarks.bandits [--rows N] [--seeds N]` prints a table, and one line of JSON. Five actions; what each
brings depends on categories, their pair, and numbers. Outcomes come 40 requests later. Each contender acts by its own
policy, or watches another that takes the worst action nine times of ten. Figures are the mean reward of its policy on
the last 1,000 requests. The network is the product's shadow as it learns, asked as it is now: a served version is
older. Owns this feed. Does not know how they learn.
"""

import argparse
import json
from collections.abc import Callable
from functools import partial

import msgspec
import numpy as np
import torch
from msgspec import Raw
from numpy.typing import NDArray

from compressors.recipe import Recipe
from deploy.learning.candidates import make_learner
from deploy.pipeline import Pipeline
from learners.live.settings import Intercept, Live, Wide
from learners.tasks.bandit import Bandit
from streams.events import Prediction, Sample

ACTIONS, STEP, DELAY, JUDGED = 5, 20, 40, 1_000
MINUTE_MS = 60_000
WINDOW_MS = 1_440 * MINUTE_MS
Array = NDArray[np.float64]


class Visit(msgspec.Struct):
    """What the feed asks about."""

    country: str
    device: str
    hour: int
    member: bool
    a: float
    b: float
    c: float
    d: float


TASKS: dict[str, Callable[[], Bandit]] = {
    "Bandit(5)": partial(Bandit, ACTIONS),
    "baseline=0.2": partial(Bandit, ACTIONS, baseline=0.2),
    "doubly_robust=True": partial(Bandit, ACTIONS, doubly_robust=True),
}


def feed(rows: int, seed: int) -> tuple[list[Visit], Array]:
    """Return requests, and the chance (N, 5) that each action is rewarded."""
    draw = np.random.default_rng(seed)
    country, device, hour = (draw.integers(0, n, rows) for n in (6, 4, 24))
    member, x = draw.integers(0, 2, rows), draw.normal(0, 1, (rows, 4)).round(3)
    sizes = [((6, ACTIONS), 1.0), ((4, ACTIONS), 0.7), ((6, 4, ACTIONS), 0.6), ((2, ACTIONS), 0.5), ((4, ACTIONS), 0.6)]
    by_country, by_device, pairs, by_member, slopes = (draw.normal(0, sd, shape) for shape, sd in sizes)
    logit = by_country[country] + by_device[device] + pairs[country, device] + by_member[member] + x @ slopes
    made = [
        Visit(str(c), str(d), h, bool(m), *numbers)
        for c, d, h, m, numbers in zip(
            country.tolist(), device.tolist(), hour.tolist(), member.tolist(), x.tolist(), strict=True
        )
    ]
    return made, 0.8 / (1 + np.exp(1.7 - logit))


def measured(task: Bandit, live: Live | Intercept, rows: int, seed: int, *, watches: bool) -> float:
    """Return what the policy brings on the last requests."""
    pipeline = Pipeline(name="bandits", features=Visit, task=task, live=live, recipe=Recipe(), seed=seed)
    asked, chances = feed(rows, seed)
    learner, draw = make_learner(pipeline), np.random.default_rng(seed + 1)
    worst = np.full((rows, ACTIONS), 0.1 / ACTIONS)
    worst[np.arange(rows), chances.argmin(1)] += 0.9
    samples, brought, learned = list[Sample](), np.zeros(rows), 0
    for start in range(0, rows, STEP):
        stop = start + STEP
        if start - DELAY > learned:
            learner.learn(samples[learned : start - DELAY])
            learner.count(start * MINUTE_MS, start, WINDOW_MS)
            learned = start - DELAY
        output = learner.shadow.answer(pipeline.encoder().encode(asked[start:stop])).double()
        served, said = (output + torch.tensor(learner.intercept.value)).numpy(), np.zeros((STEP, 0))
        if learner.live:
            said, served = learner.live.answer(asked[start:stop], output.numpy(), learner.intercept.value)
        policy = task.policy(torch.from_numpy(served)).numpy()
        brought[start:stop] = (policy * chances[start:stop]).sum(1)
        for n, acts in enumerate((worst[start:stop] if watches else policy), start):
            action = int(draw.choice(ACTIONS, p=acts / acts.sum()))
            reward = float(draw.random() < chances[n, action])
            label = task.target({"action": action, "reward": reward, "propensity": float(acts[action])})
            answer = tuple(served[n - start].tolist()) if learner.live else ()
            numbers = tuple(output[n - start].tolist()), learner.intercept.value, learner.learned
            experts = tuple(said[n - start, 2 * task.outputs :].tolist())
            prediction = Prediction(
                str(n), n * MINUTE_MS, 0, *numbers, Raw(msgspec.json.encode(asked[n])), experts, answer
            )
            samples.append(Sample(str(n), "joined", 0, n * MINUTE_MS, label, (n + DELAY) * MINUTE_MS, prediction))
    return float(brought[-JUDGED:].mean())


def main() -> None:
    """Measure all."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bandits", description=__doc__)
    parser.add_argument("--rows", type=int, default=6_000)
    parser.add_argument("--seeds", type=int, default=3)
    asked, found = parser.parse_args(), dict[str, float]()
    torch.set_num_threads(1)
    ends = [feed(asked.rows, seed)[1][-JUDGED:] for seed in range(asked.seeds)]
    print(f"by chance {np.mean(ends):.3f}, at best {np.mean([end.max(1) for end in ends]):.3f}")
    print("| | acts: network | and live experts | watches: network | and live experts |\n|---|---|---|---|---|")
    for name, make in TASKS.items():
        figures = []
        for watches in (False, True):
            for live in (Intercept(), Live(wide=Wide(bits=16))):
                runs = [measured(make(), live, asked.rows, seed, watches=watches) for seed in range(asked.seeds)]
                figures.append(float(np.mean(runs)))
                found[f"{name}, {'watches' if watches else 'acts'}, {type(live).__name__}"] = figures[-1]
        print(f"| `{name}` |", " | ".join(f"{one:.3f}" for one in figures), "|", flush=True)
    print(json.dumps({"benchmark": "bandits", "rows": asked.rows, "seeds": asked.seeds, "reward": found}))


if __name__ == "__main__":
    main()
