"""What keeping a whole state costs: its bytes, and how long learning stands still for it, before and now.

Owns the tables. `python -m benchmarks.states`. The learners are that of the flights, pruned, one of 17 million
parameters, a quarter of which learn: an adapter on a model that is frozen; and one of 22 million that all learn, as
many as MiniLM has. `before` is safetensors, all of it each time; `now` each tensor as `learners/commits/compact.py`
says, with what does not learn kept once. Neither is written to a disk here: both are packed, and hashed as the registry
does. Then what stands still: all of that, or what is copied, while a thread packs, hashes and writes it to a disk; and
how long a step of learning takes without and with that thread beside it. Time is the thread's own, of steps the
clock's.
"""

import hashlib
import json
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import cycle
from pathlib import Path
from tempfile import TemporaryDirectory

import torch
from rich.console import Console
from rich.table import Table
from torch import Tensor, nn

from benchmarks.learning import FLIGHTS, entries_of
from deploy.learning.candidates import make_learner
from deploy.pipeline import load
from deploy.registry.registry import Registry
from deploy.registry.states.beside import States
from learners.commits.compact import pack, unpack
from learners.commits.state import pack_state, unpack_state
from learners.online.learner import Learner
from streams.events import Sample
from streams.readers import read_sample

WIDTH, ROUNDS, LEARNED = 2_048, 5, 2_048
STEPS, CHAIN = 5, "0" * 64


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


class Learning(Wide):
    """22 million parameters that all learn, on the flights' inputs."""

    def __init__(self) -> None:
        super().__init__()
        self.frozen.append(nn.Linear(WIDTH, WIDTH)).requires_grad_(True)


def main() -> None:
    """Measure; print a table for people, then one JSON line for programs."""
    torch.set_num_threads(1)
    flights = load(FLIGHTS)
    kept = Table("state", "MB before", "now", "now / before", "ms before", "now", "to read, ms before", "now")
    still = Table("state", "stands still, ms before", "now", "written beside, ms", "a step, ms alone", "beside")
    found = {}
    for name, pipeline, learned in (
        ("flights", flights, LEARNED),
        ("17 M parameters", replace(flights, model=Wide, history=None), 64),
        ("22 M that learn", replace(flights, model=Learning, history=None), 64),
    ):
        learner = make_learner(pipeline)
        parts = _parts(learner, entries_of(flights)[: 2 * learned])
        for samples in parts[: len(parts) // 2]:
            learner.learn(samples)
        found[name] = one = _measure(learner) | _beside(learner, parts[len(parts) // 2 :])
        numbers = [f"{one[key]:,.2f}" for key in ("mb_before", "mb_now", "ratio")]
        kept.add_row(
            name, *numbers, *(f"{one[key]:,.1f}" for key in ("ms_before", "ms_now", "read_before", "read_now"))
        )
        still.add_row(name, *(f"{one[key]:,.2f}" for key in ("ms_now", "still", "written", "alone", "beside")))
    for table in (kept, still):
        Console().print(table)
    print(json.dumps({"benchmark": "states", "states": found}))


def _parts(learner: Learner, entries: Sequence[bytes]) -> list[list[Sample]]:
    return [list(read_sample.each(part)) for part in learner.batches(entries)]


def _beside(learner: Learner, parts: Sequence[Sequence[Sample]]) -> dict[str, float]:
    """Return how long learning stands still for a state, and how long its steps take while one is written."""
    with TemporaryDirectory() as folder:
        states = States(Registry(Path(folder)), learner, 0.0)
        still, written, steps = list[float](), list[float](), (list[float](), list[float]())
        for n in range(ROUNDS + 1):
            still += _ms(lambda n=n: states.take(n, CHAIN))
            for samples in cycle(parts):
                beside = states._writing is not None and not states._writing.done()
                began = time.perf_counter()
                learner.learn(samples)
                steps[beside].append(1e3 * (time.perf_counter() - began))
                if not beside and len(steps[0]) >= STEPS * (n + 1):
                    break
            states.settle()
            written.append(1e3 * states._took_s - still[-1])
    medians = map(statistics.median, (still[1:], written[1:], *steps))  # the first takes the copy's memory
    return dict(zip(("still", "written", "alone", "beside"), medians, strict=True))


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
