"""What runs an artifact: the engine that the version's record names, the same one in every role.

`find` proves an engine for a new artifact, and keeps its template in the registry; `prove` does for another artifact
that this one runs; `load` makes what answers. The
arithmetic belongs to the version, so that the gate judges what will serve. Where a machine cannot run the engine, or it
fails, torch runs the artifact, and a line for people says so; a batch of a width that was not proven is torch's, too,
and is counted. Does not know Kafka, Redis or Ray.
"""

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial

import msgspec
import torch
from msgspec import Struct
from msgspec.structs import replace
from torch import Tensor, nn

from compressors.artifact import format as artifact
from compressors.data import Data
from compressors.engines.arithmetic import Arithmetic, Range
from compressors.engines.choose import choose, prepared, proven, proven_in
from compressors.engines.engine import Session
from compressors.engines.template import Template, export, key, read, runtime_errors
from compressors.engines.widths import Open, batches, within
from compressors.engines.widths import Width as Found
from compressors.errors import EngineError, Unexportable
from compressors.rows import Rows
from deploy.registry.kinds import ALARMS, ENGINES
from deploy.registry.records import By, Engine, Proof, Width
from deploy.registry.registry import Registry
from learners.online.batches import Encoder
from streams.errors import RegistryError

NEWEST = 2_000  # rows of the replay on which an engine is proven, beside those held out
OLDER = "its record is of an older release"
Factory = Callable[[], nn.Module]


class Kept(Struct, frozen=True):
    """The digest of a template in the registry; None where the model cannot be exported, and `refused` says why."""

    arithmetic: str
    template: str | None
    refused: str = ""


# ── For a new artifact ──────────────────────────────────────────────────────────────────────────────────────────────


def find(registry: Registry, packed: bytes, factory: Factory, data: Data) -> Engine | str:
    """Choose and prove what will run an artifact, or return the reason why torch will.

    Ranges are taken from the rows that the artifact was distilled on; the proof is on the rows held out and the newest
    of those.
    """
    model = artifact.load(packed, factory)
    replay, _ = data.split()
    fresh = data.between(max(0, len(replay) - NEWEST), len(data))
    try:
        choice = choose(model, replay.rows, fresh.rows, partial(_template, registry))
    except EngineError as wrong:
        return str(wrong)
    ranges = registry.put(msgspec.json.encode(dict(choice.ranges))) if choice.ranges else None
    return Engine(
        arithmetic=choice.arithmetic,
        template=registry.put(choice.template.pack()),
        ranges=ranges,
        proof=Proof(**choice.proof._asdict(), rows=choice.rows),
        widths=tuple(Width(**one._asdict()) for one in choice.widths),
    )


def prove(registry: Registry, packed: bytes, factory: Factory, engine: By, rows: Rows) -> By:
    """Prove a version's engine for another artifact of its model and recipe, on these rows; else return why not."""
    if not isinstance(engine, Engine):
        return engine
    model = artifact.load(packed, factory)
    try:
        session = _prepared(registry, model, engine)
        if engine.widths:  # they are the template's
            made = [one for one in batches(rows, rows, len(rows)) if within(_found(engine), one)]
            proof = proven_in(model, session, made)
        else:
            proof = proven(model, session, rows)
    except (EngineError, RegistryError) as wrong:
        return _line(wrong)
    return replace(engine, proof=Proof(**proof._asdict(), rows=len(rows)))


def _template(
    registry: Registry,
    model: nn.Module,
    inputs: Sequence[Tensor],
    arithmetic: Arithmetic,
    signed: bool,
    guard: bool,
    opened: Open,
) -> Template:
    """Return the template of an architecture: it is exported once, and then kept."""
    name = f"{ENGINES}/{key(model, inputs, arithmetic, signed=signed, guard=guard, opened=opened)}.json"
    if (known := _kept(registry, name)) is not None:
        return known
    try:
        made = export(model, inputs, arithmetic, signed=signed, guard=guard, opened=opened)
    except Unexportable as wrong:  # so will be every later version
        _keep(registry, name, Kept(arithmetic, None, str(wrong)))
        raise
    _keep(registry, name, Kept(arithmetic, registry.put(made.pack())))
    return made


def _keep(registry: Registry, name: str, kept: Kept) -> None:
    registry.objects.create(name, msgspec.json.encode(kept))


def _kept(registry: Registry, name: str) -> Template | None:
    """Return the template that an object names; None where that or the template is missing or damaged.

    Raises:
        Unexportable: the model cannot be exported; says why, as the export did.
    """
    data = registry.objects.get(name)
    try:
        kept = msgspec.json.decode(data or b"", type=Kept)
        known = None if kept.template is None else read(registry.get(kept.template))
    except (msgspec.DecodeError, RegistryError, EngineError):
        registry.objects.delete(name)  # so that the next export takes its place
        return None
    if known is None:
        raise Unexportable(kept.refused)
    return known


# ── For those who answer ────────────────────────────────────────────────────────────────────────────────────────────


class Running:
    """An artifact, `model`, that answers: by its engine, or by torch. `by` says which, and why it is torch.

    `proof` is the mean difference of the engine's answers from the artifact's, `others` how many batches had a width
    for which the engine was not proven, so that torch has answered them.
    """

    def __init__(
        self,
        model: nn.Module,
        session: Session | None,
        by: str,
        proof: float | None = None,
        proven: Sequence[Found] = (),
    ) -> None:
        self.model, self._session, self.by, self.proof, self._proven = model, session, by, proof, proven
        self.others = 0
        self.encoder: Encoder | None = None  # of a model that takes other inputs than today's

    @property
    def line(self) -> str:
        """Say what answers, and how near it is to the artifact."""
        near = "" if self.proof is None else f"; {self.proof:.4f} from the artifact's answers"
        return f"{self.by}{near}{f'; {self.others:,} batches of other widths by torch' if self.others else ''}"

    def __call__(self, *inputs: Tensor) -> Tensor:
        """Return the raw outputs (N, K). If the engine fails where torch does not, torch goes on for good."""
        if self._session is None:
            return self._by_torch(inputs)
        if self._proven and not within(self._proven, inputs):
            return self._another(self._by_torch(inputs))
        try:
            return self._session(*inputs)
        except runtime_errors() as wrong:
            output = self._by_torch(inputs)
            if isinstance(self._session, Session) and not self._session.takes(inputs):
                return self._another(output)
            self._session, self.proof = None, None
            self.by = f"torch: its engine failed: {_line(wrong)}"
            logging.getLogger("shadowstream").warning("a version is run by %s", self.by)
            return output

    def _another(self, output: Tensor) -> Tensor:
        self.others += 1
        return output

    def _by_torch(self, inputs: Sequence[Tensor]) -> Tensor:
        with torch.inference_mode():
            output: Tensor = self.model(*inputs)
        return output


def load(registry: Registry, digest: str, engine: By, factory: Factory, *, engines: bool = True) -> Running:
    """Load an artifact with its engine, warm; without `engines`, by torch.

    Raises:
        RegistryError: the artifact is missing or damaged.
        ArtifactError: it is not of the factory's model.
    """
    model = artifact.load(registry.get(digest), factory)
    if not engines:
        return Running(model, None, "torch")
    if wrong := mismatch(registry, digest):
        return Running(model, None, f"torch: {wrong}")
    if not isinstance(engine, Engine):
        return Running(model, None, f"torch: {_line(engine or OLDER)}")
    try:
        session = _prepared(registry, model, engine)
    except (EngineError, RegistryError) as wrong:
        return Running(model, None, f"torch: {_line(wrong)}")
    return Running(model, session, f"{engine.arithmetic}, by onnxruntime", engine.proof.mean, _found(engine))


def _prepared(registry: Registry, model: nn.Module, engine: Engine) -> Session:
    ranges = {} if engine.ranges is None else _ranges(registry, engine.ranges)
    return prepared(model, read(registry.get(engine.template)), ranges, _found(engine))


def _found(engine: Engine) -> tuple[Found, ...]:
    return tuple(Found(one.input, one.dimension, one.least, one.most) for one in engine.widths)


def mismatch(registry: Registry, digest: str) -> str:
    """Return why torch runs an artifact by an alarm, "" without one; one that nobody trusted has signed is none."""
    for number in range(registry.last(ALARMS) + 1):
        with suppress(RegistryError):
            alarm = registry.record(ALARMS, number)
            if alarm and alarm.guard and alarm.kind == "mismatch" and alarm.artifact == digest:
                return alarm.guard.said
    return ""


def _ranges(registry: Registry, digest: str) -> Mapping[str, Range]:
    return msgspec.json.decode(registry.get(digest), type=dict[str, Range])


def _line(wrong: object) -> str:
    return str(wrong).partition("\n")[0][:200]
