"""Rankings with and without live experts, on a made-up feed whose truth is known: how well they order.

`python -m benchmarks.rankings [--rows N] [--seeds N]` prints a table, and one line of JSON. Of eight items one is
clicked, more likely the better it suits the country that asks; outcomes come 40 requests later. Figures are the pair
loss and the share of pairs in order on the last 1,000 requests. The network scores item by item; it is the product's
shadow as it learns, asked as it is now: a served version is older. Owns this feed. Does not know how they learn.
"""

import argparse
import json
from collections.abc import Sequence

import msgspec
import numpy as np
import torch
from msgspec import Raw
from numpy.typing import NDArray
from torch import Tensor, nn

from compressors.recipe import Recipe
from deploy.learning.candidates import make_learner
from deploy.pipeline import Pipeline
from learners.live.settings import Live, Wide
from learners.tasks.ranking import Ranking
from streams.events import Prediction, Sample

ITEMS, COUNTRIES, GENRES, STEP, DELAY, JUDGED = 8, 6, 8, 20, 40, 1_000
MINUTE_MS = 60_000
WINDOW_MS = 1_440 * MINUTE_MS
WIDTH = COUNTRIES + GENRES + 2
SHARP = 1.5
Array = NDArray[np.float64]


class Item(msgspec.Struct):
    """What is to be ordered."""

    genre: str
    price: float
    age: float


class Search(msgspec.Struct):
    """What the feed asks about."""

    country: str
    items: list[Item]


class Scores(nn.Module):
    """A network over each item and its request."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(WIDTH, 64), nn.ReLU(), nn.Linear(64, 64), nn.ReLU(), nn.Linear(64, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Return scores (N, 8) of (N, 8, WIDTH)."""
        found: Tensor = self.layers(x)[..., 0]
        return found


def encode(rows: Sequence[Search]) -> tuple[Tensor]:
    """Return rows as (N, 8, WIDTH)."""
    x = torch.zeros(len(rows), ITEMS, WIDTH)
    for n, row in enumerate(rows):
        for k, item in enumerate(row.items):
            x[n, k, int(row.country)] = x[n, k, COUNTRIES + int(item.genre)] = 1
            x[n, k, -2], x[n, k, -1] = item.price, item.age
    return (x,)


def feed(rows: int, seed: int) -> tuple[list[Search], Array]:
    """Return requests, and what each item is worth to the one who asks, (N, 8)."""
    draw = np.random.default_rng(seed)
    country, genre = draw.integers(0, COUNTRIES, rows), draw.integers(0, GENRES, (rows, ITEMS))
    numbers = draw.normal(0, 1, (rows, ITEMS, 2)).round(3)
    by_genre, taste, slopes = (draw.normal(0, sd, of) for of, sd in ((8, 0.5), ((6, 8), 0.8), ((6, 2), 0.4)))
    worth = by_genre[genre] + taste[country[:, None], genre] + (numbers * slopes[country][:, None]).sum(2)
    made = [
        Search(str(c), [Item(str(g), *pair) for g, pair in zip(of, pairs, strict=True)])
        for c, of, pairs in zip(country.tolist(), genre.tolist(), numbers.tolist(), strict=True)
    ]
    return made, SHARP * worth


def measured(rows: int, seed: int) -> dict[str, tuple[float, float]]:
    """Return by contender the pair loss and the share of pairs in order on the last requests."""
    task = Ranking(ITEMS)
    pipeline = Pipeline(
        name="rankings", features=Search, encode=encode, model=Scores, task=task, recipe=Recipe(), seed=seed,
        live=Live(wide=Wide(bits=16)),
    )  # fmt: skip
    (asked, worth), draw = feed(rows, seed), np.random.default_rng(seed + 1)
    learner, samples, learned = make_learner(pipeline), list[Sample](), 0
    live = learner.live
    assert live is not None
    clicked = np.array([draw.choice(ITEMS, p=np.exp(one) / np.exp(one).sum()) for one in worth])
    targets = np.eye(ITEMS)[clicked]
    answers = {"the network": np.zeros((rows, ITEMS)), "`w4` alone": np.zeros((rows, ITEMS))}
    answers |= {"as served": np.zeros((rows, ITEMS)), "the truth": worth}
    for start in range(0, rows, STEP):
        if start - DELAY > learned:
            learner.learn(samples[learned : start - DELAY])
            learner.count(start * MINUTE_MS, start, WINDOW_MS)
            learned = start - DELAY
        part = slice(start, start + STEP)
        output = learner.shadow.answer(encode(asked[part])).double()
        said, served = live.answer(asked[part], output.numpy())
        answers["the network"][part], answers["as served"][part] = output.numpy(), served
        answers["`w4` alone"][part] = said[:, 2 * ITEMS :]
        for n in range(start, start + STEP):
            numbers = tuple(output[n - start].tolist()), (0.0,) * ITEMS, learner.learned
            experts, answer = tuple(said[n - start, 2 * ITEMS :].tolist()), tuple(served[n - start].tolist())
            request = Raw(msgspec.json.encode(asked[n]))
            prediction = Prediction(str(n), n * MINUTE_MS, 0, *numbers, request, experts, answer)
            at_ms = (n + DELAY) * MINUTE_MS
            samples.append(Sample(str(n), "joined", 0, n * MINUTE_MS, tuple(targets[n].tolist()), at_ms, prediction))
    found, target = {}, torch.from_numpy(targets[-JUDGED:])
    for name, scores in answers.items():
        loss, right = task.metrics()
        for metric in (loss, right):
            metric.add(torch.from_numpy(scores[-JUDGED:]), target)
        found[name] = loss.value, right.value
    return found


def main() -> None:
    """Measure all."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.rankings", description=__doc__)
    parser.add_argument("--rows", type=int, default=6_000)
    parser.add_argument("--seeds", type=int, default=3)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    runs = [measured(asked.rows, seed) for seed in range(asked.seeds)]
    found = {name: np.mean([run[name] for run in runs], axis=0).tolist() for name in runs[0]}
    print("| | pair loss | pairs in order |\n|---|---|---|")
    for name, (loss, right) in found.items():
        print(f"| {name} | {loss:.3f} | {right:.3f} |")
    print(json.dumps({"benchmark": "rankings", "rows": asked.rows, "seeds": asked.seeds, "figures": found}))


if __name__ == "__main__":
    main()
