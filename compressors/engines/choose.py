"""The arithmetic of a version, chosen once: the fastest that suits the model, and is proven on rows of its own data.

Owns the order of what is tried, the rows that ranges and proof need, and the proof. Does not know where templates are
kept. Nothing is timed: the choice depends on the version and its rows, not on how busy a machine is.
"""

from collections.abc import Callable, Mapping, Sequence
from math import inf, nan
from typing import NamedTuple

import torch
from torch import Tensor, nn

from compressors import scale
from compressors.answers import as_rows, evaluating
from compressors.artifact.parity import Parity, parity, parity_of
from compressors.engines.arithmetic import Arithmetic, Range, arranged, signed_is_exact, watch, ways
from compressors.engines.engine import Session
from compressors.engines.fastest import near
from compressors.engines.template import Template, export, first_line, runtime_errors, session
from compressors.engines.widths import Open, Width, as_asked, batches, example, opened, widths
from compressors.errors import EngineError
from compressors.rows import Batch, Fixed, Rows

FIRST = 64  # rows that show the order of the layers, and whether a sample has several rows
LEAST_SEEN = 4_000  # rows for `mixed`: ranges of 1,000 flights let single answers be off by 0.6
MOST_TOKENS = 256  # rows that prove a model whose samples are long
ONE_WIDTH = "its rows differ in width, and its export computes one width alone"

Export = Callable[[nn.Module, Sequence[Tensor], Arithmetic, bool, bool, Open], Template]


class Choice(NamedTuple):
    """What runs a version: the `proof` is the difference from the model's answers on `rows` rows.

    `ranges` are those of `mixed`, and empty otherwise; `widths` what was proven of dimensions that differ from batch to
    batch; `refused` says why others were left out.
    """

    arithmetic: Arithmetic
    template: Template
    ranges: Mapping[str, Range]
    proof: Parity
    rows: int
    widths: tuple[Width, ...]
    refused: Mapping[Arithmetic, str]
    run: Session


def exported(
    model: nn.Module, inputs: Sequence[Tensor], arithmetic: Arithmetic, signed: bool, guard: bool, opened: Open
) -> Template:
    """Make a template anew; the default way to come by one."""
    return export(model, inputs, arithmetic, signed=signed, guard=guard, opened=opened)


def choose(
    model: nn.Module, seen: Rows | Sequence[Tensor], fresh: Rows | Sequence[Tensor], template: Export = exported
) -> Choice:
    """Choose the arithmetic of a served model in eval mode, and prove it.

    `seen` are the rows that the ranges are taken from, `fresh` those that the proof is made on: in batches of several
    widths where they differ in width, else as they are. `template` returns the template of a model that was arranged.

    Raises:
        EngineError: none can run here, or none agrees with the model; has the reason of each.
    """
    seen, fresh = as_asked(as_rows(seen)), as_asked(as_rows(fresh))
    watched = watch(model, seen.between(0, FIRST))
    most = MOST_TOKENS if watched.tokens else len(fresh)
    made = [] if isinstance(fresh, Fixed) else batches(seen, fresh, most)
    fresh = fresh.between(0, most)
    open_ = opened(made or [fresh.between(0, 1).batch()])
    found = widths(made, open_)
    sample, odd = _givable(example(seen, open_)), _odd(fresh.between(0, FIRST).batch())
    guard = not _finite(model, odd)
    refused: dict[Arithmetic, str] = {}
    for way in ways(watched):
        try:
            ranges = _ranges(model, seen) if way == "mixed" else {}
            ready = arranged(model, way, ranges, signed=signed_is_exact())
            chosen = template(ready, sample, way, signed_is_exact(), guard, open_)
            run = session(chosen, ready, found)
            proof = _in_widths(model, run, made, sample) if made else proven(model, run, fresh)
            if not guard and not _finite(run, odd):
                raise EngineError("rows with missing numbers, which the model answers, cannot be answered")
        except EngineError as wrong:
            refused[way] = str(wrong)
        else:
            rows = sum(len(batch[0]) for batch in made) or len(fresh)
            return Choice(way, chosen, ranges, proof, rows, found, refused, run)
    raise EngineError(_reasons(refused))


def _givable(batch: Batch) -> Batch:
    """Refuse a type that numpy lacks.

    Raises:
        EngineError: says which.
    """
    for i, t in enumerate(batch):
        try:
            t.numpy()
        except TypeError:
            kind = str(t.dtype).removeprefix("torch.")
            raise EngineError(
                f"input {i} is {kind}, which onnxruntime cannot be given; let encode make float32"
            ) from None
    return batch


def _in_widths(model: nn.Module, run: Session, made: Sequence[Batch], sample: Batch) -> Parity:
    """Prove a session on batches; where it agrees on the sample of its export alone, its export has that width in it.

    Raises:
        EngineError: it does not agree; says which of the two.
    """
    try:
        return proven_in(model, run, made)
    except EngineError as wrong:
        narrowest = min(made, key=lambda batch: sum(t[0].numel() for t in batch))
        if _agrees(model, run, sample) and not _agrees(model, run, narrowest):
            raise EngineError(ONE_WIDTH) from wrong
        raise


def _agrees(model: nn.Module, run: Session, batch: Batch) -> bool:
    try:
        proven_in(model, run, [batch])
    except EngineError:
        return False
    return True


def _odd(rows: Sequence[Tensor]) -> list[list[Tensor]]:
    """Return these rows with NaN, and with infinities, in the place of each float."""
    return [[torch.full_like(t, value) if t.is_floating_point() else t for t in rows] for value in (nan, inf, -inf)]


def _finite(run: Callable[..., Tensor], odd: Sequence[Sequence[Tensor]]) -> bool:
    """Return whether all of these rows get finite answers: whoever answers them has a meaning for missing numbers."""
    with torch.inference_mode():
        try:
            return all(bool(run(*rows).isfinite().all()) for rows in odd)
        except Exception:  # noqa: BLE001  # the model's own, or onnxruntime's, which have no base
            return False


def _reasons(refused: Mapping[Arithmetic, str]) -> str:
    """Say why none was taken, each reason once."""
    ways: dict[str, list[str]] = {}
    for way, why in refused.items():
        ways.setdefault(why, []).append(way)
    return "; ".join(f"{', '.join(those)}: {why}" for why, those in ways.items())


def prepared(model: nn.Module, template: Template, ranges: Mapping[str, Range], found: Sequence[Width] = ()) -> Session:
    """Return what runs a version as it was chosen: `model` is its artifact, loaded, `found` are its widths.

    Raises:
        EngineError: the template is of another model, or cannot run here; says why.
    """
    return session(template, arranged(model, template.arithmetic, ranges, signed=template.signed), found)


def proven(model: nn.Module, run: Callable[..., Tensor], rows: Rows | Sequence[Tensor]) -> Parity:
    """Return the difference between the answers on these rows.

    Raises:
        EngineError: it is too large, or the rows cannot be answered.
    """
    return _agreed(lambda: parity(model, run, rows, scale.zero(model)))


def proven_in(model: nn.Module, run: Callable[..., Tensor], made: Sequence[Batch]) -> Parity:
    """Return the difference between the answers to these batches: both are given the same.

    Raises:
        EngineError: as `proven`.
    """

    def difference() -> Parity:
        with evaluating(model):
            ours, theirs = ([answer(*batch) for batch in made] for answer in (model, run))
        return parity_of(torch.cat(ours), torch.cat(theirs), scale.zero(model))

    return _agreed(difference)


def _agreed(difference: Callable[[], Parity]) -> Parity:
    try:
        proof = difference()
    except runtime_errors() as wrong:
        raise EngineError(f"the rows of the proof cannot be answered: {first_line(wrong)}") from wrong
    if refusal := near(proof):
        raise EngineError(refusal)
    return proof


def _ranges(model: nn.Module, seen: Rows) -> dict[str, Range]:
    if len(seen) < LEAST_SEEN:
        raise EngineError(f"ranges need {LEAST_SEEN:,} rows, there are {len(seen):,}")
    return watch(model, seen).ranges
