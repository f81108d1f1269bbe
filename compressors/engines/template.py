"""A template: a model as an ONNX file without weights, exported once for an architecture and used for every version.

An export takes seconds and the packages of torch's exporter. Putting a version's tensors into a template takes
milliseconds, and onnxruntime alone. Weights are inputs of what is traced, so the exporter can fold none of them; then
each becomes an external initializer of its name, and onnxruntime folds and packs it when a session is made. The session
has the same bits as that of a file exported with its weights. Owns templates and sessions. Does not know artifacts or
where templates are kept.
"""

import inspect
import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr
from hashlib import sha256
from importlib import import_module
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from io import StringIO
from typing import Any

import msgspec
import numpy as np
import torch
from msgspec import Struct
from torch import Tensor, nn
from torch.func import functional_call

from compressors.engines.arithmetic import Arithmetic, signed_is_exact
from compressors.engines.engine import Session
from compressors.engines.onnx import guarded, trace
from compressors.engines.widths import Open, Width
from compressors.errors import EngineError, Unexportable

EXPORTER, RUNTIME = ("onnx", "onnxscript"), ("onnxruntime",)
UNFIT = (  # what exporters raise
    ArithmeticError, AssertionError, AttributeError, ImportError, LookupError, OSError, RuntimeError, TypeError,
    ValueError,
)  # fmt: skip


class Place(Struct, frozen=True):
    """Where a tensor goes: the initializer's name, and the shape and type that it must have."""

    initializer: str
    shape: tuple[int, ...]
    type: str


class Template(Struct, frozen=True, kw_only=True):
    """`onnx` without weights; `places` says by name in the arranged model which tensors it needs.

    `signed`: its weights are signed int8, which not every processor multiplies exactly.
    """

    arithmetic: Arithmetic
    signed: bool
    places: dict[str, Place]
    onnx: bytes

    def pack(self) -> bytes:
        """Return the bytes that `read` takes; they depend on no weight."""
        return msgspec.msgpack.encode(self)

    def digest(self) -> str:
        """Return the SHA-256 of these bytes."""
        return sha256(self.pack()).hexdigest()


def key(
    model: nn.Module,
    inputs: Sequence[Tensor],
    arithmetic: Arithmetic,
    *,
    signed: bool,
    guard: bool = True,
    opened: Open = (),
) -> str:
    """Return 64 hex digits that are equal where an export would give the same template.

    Of the model they cover its modules as text, their code where it is not torch's, the numbers and texts that they
    hold, and the shapes of its tensors; of the inputs what a row is like, but for `opened` dimensions; and the versions
    of the packages that export, to the minor one.
    """
    kinds = sorted({type(module) for module in model.modules()}, key=lambda kind: kind.__qualname__)
    tensors = {name: (list(t.shape), str(t.dtype)) for name, t in tensors_of(model).items()}
    rows = [(_sizes(t, opened[i] if opened else ()), str(t.dtype)) for i, t in enumerate(inputs)]
    versions = [_minor(name) for name in ("torch", *EXPORTER, *RUNTIME)]
    plain = {name: _plain(module) for name, module in model.named_modules()}
    covered = (str(model), [_code(kind) for kind in kinds], plain, tensors, rows, arithmetic, signed, guard, versions)
    return sha256(msgspec.json.encode(covered)).hexdigest()


def _sizes(t: Tensor, opened: Sequence[int]) -> list[int | None]:
    return [None if d in opened else size for d, size in enumerate(t.shape)][1:]


def _plain(module: nn.Module) -> list[str]:
    """Return the numbers and texts that a module holds: an export makes them part of the graph."""
    return sorted(f"{k}={v!r}" for k, v in vars(module).items() if isinstance(v, (bool, int, float, str)))


def _code(kind: type) -> str:
    try:
        return "" if kind.__module__.startswith("torch.") else inspect.getsource(kind)
    except (OSError, TypeError):  # defined where no file is
        return kind.__qualname__


def _minor(package: str) -> str:
    try:
        return ".".join(version(package).split(".")[:2])
    except PackageNotFoundError:
        return ""


def read(data: bytes) -> Template:
    """Read what `Template.pack` has returned.

    Raises:
        EngineError: it is something else.
    """
    try:
        return msgspec.msgpack.decode(data, type=Template)
    except msgspec.DecodeError as wrong:
        raise EngineError(f"not a template: {wrong}") from None


def tensors_of(model: nn.Module) -> dict[str, Tensor]:
    """Return parameters and buffers by name; a shared one has its first name."""
    return {**dict(model.named_parameters()), **dict(model.named_buffers())}


def lacking(packages: Sequence[str]) -> str | None:
    """Say which of the packages are not installed, or return None."""
    missing = [name for name in packages if find_spec(name) is None]
    return f"not installed: {', '.join(missing)}" if missing else None


# ── Once an architecture ────────────────────────────────────────────────────────────────────────────────────────────


def export(
    model: nn.Module,
    inputs: Sequence[Tensor],
    arithmetic: Arithmetic,
    *,
    signed: bool,
    guard: bool = True,
    opened: Open = (),
) -> Template:
    """Make the template of an arranged model. `inputs` are sample rows, (N, ...) each, to trace the model with.

    `opened` are, by input, dimensions beside the first that differ from batch to batch; in the sample at least 2 each.

    With `guard`, a row whose floats are not all finite is answered by NaN, as a model does that has no meaning for
    them: onnxruntime's maximum ignores NaN.

    Raises:
        Unexportable: the exporter fails with this model; says why.
        EngineError: the exporter is not installed.
    """
    if missing := lacking(EXPORTER):
        raise EngineError(missing)
    tensors = tensors_of(model)
    try:
        with _silent():
            proto = trace(_Open(model, list(tensors), guard=guard).eval(), inputs, tuple(tensors.values()), opened)
        places = _emptied(proto.graph, tensors)
    except UNFIT as wrong:
        raise Unexportable(f"this model cannot be exported: {first_line(wrong.__cause__ or wrong)}") from wrong
    return Template(arithmetic=arithmetic, signed=signed, places=places, onnx=proto.SerializeToString())


@contextmanager
def _silent() -> Iterator[None]:
    """Keep the exporter's notes and the graphs that it prints from people: what it raises says enough."""
    before = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with redirect_stderr(StringIO()):
            yield
    finally:
        logging.disable(before)


class _Open(nn.Module):
    """A model whose tensors are the first arguments of its call, so that nothing of them becomes part of the graph."""

    def __init__(self, model: nn.Module, names: Sequence[str], *, guard: bool) -> None:
        super().__init__()
        self._model, self._names, self._guard = [model], names, guard  # in a list: its tensors are not this module's

    def forward(self, *inputs: Tensor) -> Tensor:
        """Return the outputs (N, ...)."""
        (model,), n = self._model, len(self._names)
        rows = inputs[n:]
        out: Tensor = functional_call(model, dict(zip(self._names, inputs[:n], strict=True)), rows)
        return _guarded(out, rows) if self._guard else out


def _guarded(out: Tensor, rows: Sequence[Tensor]) -> Tensor:
    """As `guarded`, by one product with zeros for rows of numbers: 0.5 µs where that takes 3 to 5."""
    for t in rows:
        if t.dtype == out.dtype == torch.float32 and t.dim() == out.dim() == 2:
            zeros = torch.zeros(t.shape[1], out.shape[1])
            out = torch.onnx.ops.symbolic("Gemm", (t, zeros, out), dtype=out.dtype, shape=out.shape)
        else:
            out = guarded(out, (t,))
    return out


def _emptied(graph: Any, tensors: Mapping[str, Tensor]) -> dict[str, Place]:
    """Make external initializers of the graph's inputs that are tensors, and return which are used."""
    for item in (*graph.node, *graph.value_info, *graph.input, *graph.output, *graph.initializer):
        del item.metadata_props[:]  # the exporter's notes: stack traces, with the paths of this machine
        item.doc_string = ""
    values = dict(zip(tensors, list(graph.input), strict=False))  # the rows come after the tensors
    used = {name for node in graph.node for name in node.input}
    places = {}
    for name, value in values.items():
        graph.input.remove(value)
        if value.name in used:
            tensor = tensors[name]
            tensor.numpy()  # bfloat16 has no numpy type: a TypeError
            places[name] = Place(value.name, tuple(tensor.shape), _type(tensor))
            kept = graph.initializer.add(name=value.name, dims=tensor.shape)
            kept.data_type, kept.data_location = value.type.tensor_type.elem_type, kept.EXTERNAL
            kept.external_data.add(key="location", value="tensors")  # a name that no file has
    return places


# ── Once a version ──────────────────────────────────────────────────────────────────────────────────────────────────


def session(template: Template, model: nn.Module, found: Sequence[Width] = ()) -> Session:
    """Put the tensors of an arranged model into a template, and return what runs it, warm; it needs onnxruntime alone.

    `found` are the widths at which it will run.

    Raises:
        EngineError: a tensor is missing or misshapen, or this machine cannot run the template; says which and why.
    """
    if missing := lacking(RUNTIME):
        raise EngineError(missing)
    if template.signed and not signed_is_exact():
        raise EngineError("the template's weights are signed int8, which this processor does not multiply exactly")
    tensors = tensors_of(model)
    arrays = {place.initializer: _fitting(name, place, tensors.get(name)) for name, place in template.places.items()}
    try:
        made = Session(template.onnx, tensors=arrays, found=found)
        made.warm_up()
    except runtime_errors() as wrong:
        raise EngineError(f"onnxruntime refuses the template: {first_line(wrong)}") from wrong
    return made


def _fitting(name: str, place: Place, tensor: Tensor | None) -> np.ndarray[Any, Any]:
    wanted = f"the template needs {place.type} {list(place.shape)}"
    if tensor is None:
        raise EngineError(f"{name} is missing: {wanted}")
    if (tuple(tensor.shape), _type(tensor)) != (place.shape, place.type):
        raise EngineError(f"{name} is {_type(tensor)} {list(tensor.shape)}: {wanted}")
    array: np.ndarray[Any, Any] = tensor.detach().contiguous().numpy()
    return array


def _type(tensor: Tensor) -> str:
    return str(tensor.dtype).removeprefix("torch.")


def runtime_errors() -> tuple[type[Exception], ...]:
    """Return the errors of a session: of onnxruntime, whose own have no base, and of what does not fit its inputs."""
    module = import_module("onnxruntime.capi.onnxruntime_pybind11_state")
    own = [one for one in vars(module).values() if isinstance(one, type) and issubclass(one, Exception)]
    return RuntimeError, ValueError, TypeError, LookupError, *own


def first_line(wrong: BaseException) -> str:
    """Return an error's kind and the first line of its message, 200 characters at most."""
    return f"{type(wrong).__name__}: {str(wrong).partition(chr(10))[0]}"[:200]
