"""What a feed keeps and costs as it grows: bytes a sample, processor time an event, how long each role takes to start.

Owns the tables. `python -m benchmarks.soak [--samples 1000000] [--looks 4] [--data FOLDER]`: the flights pipeline
answers, learns, commits, seals, distils, judges and promotes January's flights, again and again under new ids and
times, 900 a day. All of that is done by the roles' own classes in one process, without broker, store and join, so that
event time passes as fast as it can. At each look every role is started in a process of its own, until it has nothing
more to do.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import cycle, islice
from pathlib import Path
from typing import Any, cast

import torch
from msgspec import Raw
from rich.console import Console
from rich.table import Table

from deploy.backtest.again import NoBoard
from deploy.config import Learn, Settings
from deploy.config import Registry as Kept
from deploy.engine import load as load_version
from deploy.learning.bootstrap import bootstrap
from deploy.learning.candidates import make_learner
from deploy.learning.distiller import DistillerRole
from deploy.learning.rules import CommitRules
from deploy.operate.versions.lineage import find
from deploy.pipeline import Pipeline, load
from deploy.promotion.conductor import ConductorRole
from deploy.promotion.evaluator import EvaluatorRole
from deploy.registry.commits import read
from deploy.registry.gc.heads import Heads
from deploy.registry.gc.sweep import sweep
from deploy.registry.kinds import BLOBS, CHAMPIONS, COMMITS
from deploy.registry.log.sealer import Sealer
from deploy.registry.rebuild import rebuild
from deploy.registry.registry import Registry
from deploy.registry.states import kept
from deploy.registry.states.beside import States
from deploy.registry.states.names import STATES
from deploy.registry.storage.home import home
from learners.commits import commit as commits
from learners.commits.draft import after
from learners.commits.voids import Slot
from learners.evaluation.trials.timing import Timing
from learners.packing import shortest
from streams.events import Prediction, Sample, encode
from streams.join.policy import JoinPolicy
from streams.join.store import Store
from streams.readers import read_sample

FLIGHTS = Path(__file__).parents[1] / "examples" / "flights" / "pipeline.py"
ROLES = ("learner", "distiller", "evaluator", "conductor", "server")
START_MS, EACH_MS, LAG_MS = 1_359_676_800_000, 96_000, 10_800_000  # 900 a day; an outcome comes after three hours
WINDOW_MS = 21_600_000
TIMING = Timing.of(JoinPolicy(window_s=WINDOW_MS / 1_000))
BATCH, IN_COMMIT, SEALED, SWEPT = 32, 64, 64 * 64, 64 * 4_096  # samples


class Soak:
    """A feed that grows; `took` is the processor time, in seconds, of each role since it was emptied."""

    def __init__(self, pipeline: Pipeline, folder: Path) -> None:
        self.pipeline, self.registry, self.took = (
            pipeline,
            Registry(home(str(folder), pipeline.name)),
            defaultdict[str, float](float),
        )
        bootstrap(pipeline, self.registry)
        self._learner = make_learner(pipeline)
        first = read(self.registry, 0)
        self._learner.load(kept.get(self.registry, str(first.state)))
        self._states = States(self.registry, self._learner, Learn().relearn_s)
        self._sealer, self._heads, board = Sealer(self.registry.objects), Heads(), NoBoard()
        self._draft = after(self.registry.read(COMMITS, 0) or b"", [0], "0-0")
        self._rules = CommitRules(IN_COMMIT, 1e9, pipeline.promotion.every_days, pipeline.promotion.drift_a_year)
        self._roles: dict[str, Any] = {
            "distiller": DistillerRole(pipeline, cast(Store, board), self.registry),
            "evaluator": EvaluatorRole(pipeline, TIMING, board, self.registry, engines=False),
            "conductor": ConductorRole(pipeline.name, board, self.registry, pipeline.promotion),
        }  # fmt: skip
        self._rows = cycle([(encode(row.features), pipeline.task.target(row.label)) for row in pipeline.history()])  # type: ignore[misc]
        self._version = -1
        self._serve()

    def grow(self, samples: int) -> None:
        """Have so many samples learned in all."""
        while (learned := self._learner.learned) < samples:
            with self._of("server"):
                entries = self._answered(learned)
            with self._of("learner"):
                self._learn(entries)
            for name, role in self._roles.items():
                with self._of(name):
                    while role.step(0):
                        pass
            with self._of("server"):
                self._serve()
            if learned % SEALED < IN_COMMIT:
                with self._of("sealer"):
                    while self._sealer.step():
                        pass
            if learned % SWEPT < IN_COMMIT:
                with self._of("gc"):
                    sweep(self.registry, heads=self._heads)

    @property
    def learned(self) -> int:
        """How many samples were learned."""
        return self._learner.learned

    @contextmanager
    def _of(self, role: str) -> Iterator[None]:
        began = time.process_time()
        yield
        self.took[role] += time.process_time() - began

    def _serve(self) -> None:
        """Load what serves now, if that is another version."""
        newest = self.registry.last(CHAMPIONS, max(self._version, 0))
        if newest != self._version and (record := self.registry.record(CHAMPIONS, newest)):
            self._running = load_version(
                self.registry, record.artifact, record.engine, self.pipeline.model, engines=False
            )
            self._version, self._offset = newest, torch.tensor(record.offset)

    def _answered(self, learned: int) -> list[bytes]:
        """Return the samples of a commit, answered as a server does, and labelled."""
        rows = list(islice(self._rows, IN_COMMIT))
        encoder, live = self.pipeline.encoder(), self._learner.live
        decoded = [encoder.decode(features) for features, _ in rows]
        outputs = self._running(*encoder.encode(decoded)) + self._offset
        intercept, none = self._learner.intercept.value, cast(list[tuple[Any, ...]], [()] * len(rows))
        experts, answers = none, none
        if live:
            said, served = live.answer(decoded, outputs.double().numpy(), intercept)
            experts = [tuple(None if z != z else z for z in one) for one in said[:, 2 * outputs.shape[1] :].tolist()]
            answers = [tuple(one) for one in served.round(6).reshape(outputs.shape).tolist()]
        made = []
        for n, ((features, label), output) in enumerate(zip(rows, shortest(outputs), strict=True), learned):
            at, t_ms = n - learned, START_MS + n * EACH_MS
            key = f"2013-{n:09}-EV4334-EWR"
            asked = Prediction(
                key, t_ms, self._version, tuple(output), intercept, learned, Raw(features), experts[at], answers[at]
            )
            made.append(encode(Sample(key, "joined", 0, t_ms, label, t_ms + LAG_MS, asked)))
        return made

    def _learn(self, entries: Sequence[bytes]) -> None:
        """Learn and commit, as the learner's role does."""
        first, draft = self._learner.learned + 1, self._draft
        for at in range(0, len(entries), BATCH):
            part = entries[at : at + BATCH]
            samples = read_sample.each(part)
            slots = [Slot(0, first + at + n) for n in range(len(part))]
            with self._states.learning():
                shadow = shortest(self._learner.learn(samples))
            draft.add(slots, part, shadow, samples[-1].t)
            draft.watermark_ms = draft.heard_ms = samples[-1].label_t
        draft.asked = (draft.heard_ms, (draft.heard_ms - START_MS) // EACH_MS + 1, WINDOW_MS)
        self._learner.count(*draft.asked)
        draft.positions[0] = f"{self._learner.learned}-0"
        number, due = draft.last.number + 1, self._rules.due(draft, self._learner.gap)
        self._learner.hear(draft.heard_ms)
        if due and due.since_ms is not None:
            self._learner.drifted(due.since_ms)
        data = commits.encode(draft.finish(self._learner, due, {}, {}))
        self.registry.write(COMMITS, number, data)
        self._draft = after(data, [0], "0-0")
        if due is not None or self._states.due:
            self._states.take(number, self._draft.parent)


def begin(role: str, folder: Path) -> None:
    """Start a role on what there is, until it has nothing to do; print seconds, those of the processor, and MB."""
    torch.set_num_threads(1)
    pipeline, board = load(FLIGHTS), NoBoard()
    registry, began, began_cpu = Registry(home(str(folder), pipeline.name)), time.perf_counter(), time.process_time()
    if role == "learner":
        rebuild(make_learner(pipeline), registry, registry.last(COMMITS))
    elif role == "server":
        record = registry.record(CHAMPIONS, registry.last(CHAMPIONS))
        assert record
        load_version(registry, record.artifact, record.engine, pipeline.model, engines=False)
    else:
        made: Any
        if role == "evaluator":
            made = EvaluatorRole(pipeline, TIMING, board, registry, engines=False)
        elif role == "distiller":
            made = DistillerRole(pipeline, cast(Store, board), registry)
        else:
            made = ConductorRole(pipeline.name, board, registry, pipeline.promotion)
        while made.step(0):
            pass
    print(json.dumps([time.perf_counter() - began, time.process_time() - began_cpu, peak_mb()]))


def peak_mb() -> float:
    """Return the most memory that this process has had; `getrusage` counts that of its parent, too."""
    (kib,) = [
        line.split()[1] for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM:")
    ]
    return int(kib) * 1_024 / 1e6


def look(soak: Soak, folder: Path, samples: int, since: int) -> dict[str, Any]:
    """Return what there is after so many samples, and what each has cost since `since`."""
    sizes = defaultdict[str, int](int)
    for name, size in soak.registry.objects.sizes().items():
        sizes[name.partition("/")[0]] += size
    starts = {}
    for role in ROLES:
        ran = subprocess.run(
            [sys.executable, "-m", "benchmarks.soak", "--start", role, "--data", str(folder)],
            capture_output=True, check=True, text=True,
        )  # fmt: skip
        starts[role] = json.loads(ran.stdout.splitlines()[-1])
    began = time.perf_counter()
    find(FLIGHTS, Settings(registry=Kept(path=str(folder))), f"2013-{samples // 2:09}-EV4334-EWR")
    found = {
        "samples": samples,
        "bytes_a_sample": {name: size / samples for name, size in sorted(sizes.items())},
        "beside_blobs": (sum(sizes.values()) - sizes[BLOBS] - sizes[STATES]) / samples,
        "us_a_sample": {role: 1e6 * took / (samples - since) for role, took in soak.took.items()},
        "find_s": time.perf_counter() - began,
        "starts": starts,
        "own_mb": peak_mb(),
    }
    soak.took.clear()
    return found


def main() -> None:
    """Measure; print a table at each look for people, then one JSON line for programs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--samples", type=int, default=1_000_000)
    parser.add_argument("--looks", type=int, default=4)
    parser.add_argument("--data", type=Path)
    parser.add_argument("--start", choices=ROLES, help=argparse.SUPPRESS)
    asked = parser.parse_args()
    if asked.start:
        begin(asked.start, asked.data)
        return
    torch.set_num_threads(1)
    found, console = [], Console()
    with tempfile.TemporaryDirectory(dir=asked.data) as folder:
        soak, last = Soak(load(FLIGHTS), Path(folder)), 0
        for n in range(1, asked.looks + 1):
            soak.grow(asked.samples * n // asked.looks)
            made = look(soak, Path(folder), soak.learned, last)
            last = made["samples"]
            found.append(made)
            console.print(table(made))
    print(json.dumps({"benchmark": "soak", "looks": found}))


def table(found: dict[str, Any]) -> Table:
    """Return a look as a table."""
    made = Table(
        "role",
        "µs a sample",
        "start, s",
        "of processor",
        "MB",
        title=f"{found['samples']:,} samples",
        title_justify="left",
    )
    for role in {**found["us_a_sample"], **found["starts"]}:
        took, start = found["us_a_sample"].get(role), found["starts"].get(role)
        cells = (f"{start[0]:.2f}", f"{start[1]:.2f}", f"{start[2]:,.0f}") if start else ("–", "–", "–")
        made.add_row(role, f"{took:.0f}" if took is not None else "–", *cells)
    kept = ", ".join(f"{name} {size:.1f}" for name, size in found["bytes_a_sample"].items() if size >= 0.05)
    made.caption = (
        f"{found['beside_blobs']:.1f} bytes a sample beside blobs ({kept}); an id is found in {found['find_s']:.2f} s; "
        f"this process {found['own_mb']:,.0f} MB"
    )
    return made


if __name__ == "__main__":
    main()
