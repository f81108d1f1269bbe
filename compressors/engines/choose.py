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
from compressors.answers import as_rows
from compressors.artifact.parity import Parity, parity
from compressors.engines.arithmetic import Arithmetic, Range, arranged, signed_is_exact, watch, ways
from compressors.engines.engine import Session
from compressors.engines.fastest import near
from compressors.engines.template import Template, export, first_line, runtime_errors, session
from compressors.errors import EngineError
from compressors.rows import Fixed, Rows

FIRST = 64  # rows that show the order of the layers, and whether a sample has several rows
LEAST_SEEN = 4_000  # rows for `mixed`: ranges of 1,000 flights let single answers be off by 0.6
MOST_TOKENS = 256  # rows that prove a model whose samples are long

Export = Callable[[nn.Module, Sequence[Tensor], Arithmetic, bool, bool], Template]
UNEVEN = "its rows differ in length, and an exported model has one"


class Choice(NamedTuple):
    """What runs a version: the `proof` is the difference from the model's answers on `rows` rows.

    `ranges` are those of `mixed`, and empty otherwise; `refused` says why others were left out.
    """

    arithmetic: Arithmetic
    template: Template
    ranges: Mapping[str, Range]
    proof: Parity
    rows: int
    refused: Mapping[Arithmetic, str]
    run: Session


def exported(model: nn.Module, inputs: Sequence[Tensor], arithmetic: Arithmetic, signed: bool, guard: bool) -> Template:
    """Make a template anew; the default way to come by one."""
    return export(model, inputs, arithmetic, signed=signed, guard=guard)


def choose(
    model: nn.Module, seen: Rows | Sequence[Tensor], fresh: Rows | Sequence[Tensor], template: Export = exported
) -> Choice:
    """Choose the arithmetic of a served model in eval mode, and prove it.

    `seen` are the rows that the ranges are taken from, `fresh` those that the proof is made on. `template` returns the
    template of a model that was arranged.

    Raises:
        EngineError: none can run here, or none agrees with the model; has the reason of each.
    """
    seen, fresh = as_rows(seen), as_rows(fresh)
    if not isinstance(seen, Fixed) or not isinstance(fresh, Fixed):
        raise EngineError(UNEVEN)
    watched = watch(model, seen.between(0, FIRST))
    fresh = fresh.between(0, MOST_TOKENS) if watched.tokens else fresh
    odd = _odd(fresh.between(0, FIRST).tensors)
    guard = not _finite(model, odd)
    refused: dict[Arithmetic, str] = {}
    for way in ways(watched):
        try:
            ranges = _ranges(model, seen) if way == "mixed" else {}
            made = arranged(model, way, ranges, signed=signed_is_exact())
            chosen = template(made, seen.between(0, 2).tensors, way, signed_is_exact(), guard)
            run = session(chosen, made)
            proof = proven(model, run, fresh)
            if not guard and not _finite(run, odd):
                raise EngineError("rows with missing numbers, which the model answers, cannot be answered")
        except EngineError as wrong:
            refused[way] = str(wrong)
        else:
            return Choice(way, chosen, ranges, proof, len(fresh), refused, run)
    raise EngineError(_reasons(refused))


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


def prepared(model: nn.Module, template: Template, ranges: Mapping[str, Range]) -> Session:
    """Return what runs a version as it was chosen: `model` is its artifact, loaded.

    Raises:
        EngineError: the template is of another model, or cannot run here; says why.
    """
    return session(template, arranged(model, template.arithmetic, ranges, signed=template.signed))


def proven(model: nn.Module, run: Callable[..., Tensor], rows: Rows | Sequence[Tensor]) -> Parity:
    """Return the difference between the answers on these rows.

    Raises:
        EngineError: it is too large, or the rows cannot be answered.
    """
    try:
        proof = parity(model, run, rows, scale.zero(model))
    except runtime_errors() as wrong:
        raise EngineError(f"the rows of the proof cannot be answered: {first_line(wrong)}") from wrong
    if refusal := near(proof):
        raise EngineError(refusal)
    return proof


def _ranges(model: nn.Module, seen: Rows) -> dict[str, Range]:
    if len(seen) < LEAST_SEEN:
        raise EngineError(f"ranges need {LEAST_SEEN:,} rows, there are {len(seen):,}")
    return watch(model, seen).ranges
