"""What keeping a whole state costs: its bytes, and how long learning stands still for it, before and now.

Owns the table. `python -m benchmarks.states`. The learners are that of the flights, pruned, and one of 17 million
parameters, a quarter of which learn: an adapter on a model that is frozen. `before` is safetensors, all of it each
time; `now` each tensor as `learners/commits/compact.py` says, with what does not learn kept once. Neither is written
to a disk here: both are packed, and hashed as the registry does. Time is the thread's own.
"""

import hashlib
import json
import statistics
import time
from collections.abc import Callable
from dataclasses import replace

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from benchmarks.learning import FLIGHTS, entries_of
from deploy.learning.candidates import make_learner
from deploy.pipeline import load
from learners.commits.compact import pack, unpack
from learners.commits.state import pack_state, unpack_state
from learners.online.learner import Learner
from streams.readers import read_sample

WIDTH, ROUNDS, LEARNED = 2_048, 5, 2_048


class Wide(nn.Module):
    """17 million parameters, of which the last layers learn, on the flights' inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Embedding(200, 8)
        self.frozen = nn.Sequential(
            nn.Linear(49, WIDTH), nn.ReLU(), *(nn.Linear(WIDTH, WIDTH) for _ in range(3))
        ).requires_grad_(False)
        self.learns = nn.Sequential(nn.ReLU(), nn.Linear(WIDTH, WIDTH), nn.ReLU(), nn.Linear(WIDTH, 1))

    def forward(self, rows: Tensor, numbers: Tensor) -> Tensor:
        """Return the logit (N, 1)."""
        logit: Tensor = self.learns(self.frozen(torch.cat([self.table(rows).flatten(1), numbers], dim=1)))
        return logit


def main() -> None:
    """Measure; print a table for people, then one JSON line for programs."""
    torch.set_num_threads(1)
    flights = load(FLIGHTS)
    table = Table("state", "MB before", "now", "now / before", "ms before", "now", "to read, ms before", "now")
    found = {}
    for name, pipeline, learned in (
        ("flights", flights, LEARNED),
        ("17 M parameters", replace(flights, model=Wide, history=None), 64),
    ):
        learner = make_learner(pipeline)
        entries = entries_of(flights)[:learned]
        for at in range(0, learned, pipeline.online.batch):
            learner.learn(read_sample.each(entries[at : at + pipeline.online.batch]))
        found[name] = one = _measure(learner)
        numbers = [f"{one[key]:,.2f}" for key in ("mb_before", "mb_now", "ratio")]
        table.add_row(
            name, *numbers, *(f"{one[key]:,.1f}" for key in ("ms_before", "ms_now", "read_before", "read_now"))
        )
    Console().print(table)
    print(json.dumps({"benchmark": "states", "states": found}))


def _measure(learner: Learner) -> dict[str, float]:
    apart = dict[str, bytes]()

    def keep(data: bytes) -> str:
        digest = hashlib.sha256(data).hexdigest()
        apart[digest] = data
        return digest

    def before() -> bytes:
        return _hashed(pack_state(learner.state()))

    def now() -> bytes:
        return _hashed(pack(learner.state(), learner.frozen, keep))

    packed = before(), now()
    took = [_ms(before, now) for _ in range(ROUNDS)]  # in turn, so that a slow moment affects both alike
    read = [_ms(lambda: unpack_state(packed[0]), lambda: unpack(packed[1], apart.__getitem__)) for _ in range(ROUNDS)]
    sizes = [len(data) / 1e6 for data in packed]
    ms = [statistics.median(one) for times in (took, read) for one in zip(*times, strict=True)]
    names = "mb_before", "mb_now", "ms_before", "ms_now", "read_before", "read_now"
    return dict(zip(names, [*sizes, *ms], strict=True)) | {
        "ratio": sizes[1] / sizes[0],
        "mb_once": sum(map(len, apart.values())) / 1e6,
    }


def _hashed(data: bytes) -> bytes:
    hashlib.sha256(data).hexdigest()
    return data


def _ms(*works: Callable[[], object]) -> list[float]:
    took = []
    for work in works:
        began = time.thread_time()
        work()
        took.append(1e3 * (time.thread_time() - began))
    return took


if __name__ == "__main__":
    main()
