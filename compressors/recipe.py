"""A compression recipe: a chain of steps such as `prune(amount=0.6) -> quantize("int8") -> distill(temperature=2)`.

Owns the chain as text and JSON, what contradicts what in it, and its identity. The steps' own bounds are in `steps.py`;
whether a recipe suits a model is found where it is carried out.
"""

import ast
import json
import re
from collections.abc import Mapping, Set
from dataclasses import asdict, dataclass, fields
from hashlib import sha256
from itertools import combinations, pairwise
from typing import Any, TypeVar

from compressors.steps import (
    KINDS,
    STEP_NAMES,
    STEPS,
    Distill,
    Inputs,
    Kind,
    Prune,
    PruneStructured,
    Quantize,
    Retrain,
    Scope,
    Step,
    Units,
    require,
)

__all__ = [
    "KINDS",
    "STEP_NAMES",
    "Distill",
    "Inputs",
    "Kind",
    "Prune",
    "PruneStructured",
    "Quantize",
    "Recipe",
    "Retrain",
    "Scope",
    "Step",
    "Units",
]

S = TypeVar("S")
ARROW = re.compile(r"\s*(?:->|→)\s*")
LATER = {"schedule": "constant"}  # settings that came after the first digests, and the values that leave them equal


@dataclass(frozen=True, init=False)
class Recipe:
    """Steps in the order in which they are carried out, written as Python calls or as a text with arrows.

    Equal recipes have equal digests; the promotion gate treats them as one lineage.

    Raises:
        ValueError: steps that contradict each other; says which and why.

    >>> recipe = Recipe(Prune(amount=0.6), Quantize("int8"), Distill())
    >>> str(recipe)
    'prune(amount=0.6) -> quantize(int8) -> distill()'
    >>> recipe == Recipe.parse(str(recipe)) == Recipe.from_dict(recipe.to_dict())
    True
    >>> Recipe(Quantize("int8"), PruneStructured(amount=0.5))
    Traceback (most recent call last):
    ValueError: prune_structured(amount=0.5) after quantize(int8): whole units go before weights are masked or rounded
    """

    steps: tuple[Step, ...]

    def __init__(self, *steps: Step) -> None:
        object.__setattr__(self, "steps", steps)
        for step in steps:
            require(type(step) in STEP_NAMES, f"a recipe is made of {', '.join(STEPS)}, got {step!r}")
        _check_order(steps)
        _check_pruning(steps)

    def __str__(self) -> str:
        """Return the text that `parse` reads."""
        return " -> ".join(map(_text, self.steps))

    @classmethod
    def parse(cls, text: str) -> "Recipe":
        """Read a chain of calls with arrows (`->` or `→`) between them; no text is the empty recipe.

        Raises:
            ValueError: not such a chain, an unknown step or setting, a value out of its bounds, or a contradiction.

        >>> Recipe.parse("quantize(int4, group=32)").steps[0].group
        32
        """
        return cls(*map(_call, ARROW.split(text.strip()))) if text.strip() else cls()

    def to_dict(self) -> dict[str, Any]:
        """Return nested plain dicts, ready for JSON."""
        return {"steps": [{"step": STEP_NAMES[type(step)]} | asdict(step) for step in self.steps]}

    @classmethod
    def from_dict(cls, chain: Mapping[str, Any]) -> "Recipe":
        """Read what `to_dict` returned; missing settings take their defaults.

        Raises:
            ValueError: an unknown step or setting, or a value out of its bounds.
        """
        require(set(chain) == {"steps"}, f"a recipe has one member, steps, got {sorted(chain)}")
        return cls(*(_step(one.get("step"), {k: v for k, v in one.items() if k != "step"}) for one in chain["steps"]))

    def digest(self) -> str:
        """Return 16 hex digits, equal for equal recipes. A setting that came later changes no digest while unused."""
        steps = [{k: v for k, v in one.items() if LATER.get(k, ...) != v} for one in self.to_dict()["steps"]]
        return sha256(json.dumps({"steps": steps}, sort_keys=True).encode()).hexdigest()[:16]

    def quantized(self) -> dict[Kind, Quantize]:
        """Return how the weights of each kind of layer are quantized; a kind that is missing stays in float."""
        return {kind: step for step in self.steps if isinstance(step, Quantize) for kind in step.layers or ()}

    def pruned(self) -> set[Kind]:
        """Return the kinds of layers whose weights are masked."""
        return {kind for step in self.steps if isinstance(step, Prune) for kind in step.layers}

    def check(self, pruned: Set[Kind], quantized: Set[Kind], left: str = "") -> None:
        """Refuse a model, of which layers of these kinds can be pruned and quantized, if a step finds none to act on.

        Raises:
            ValueError: names the step; `left` says what stays in float.
        """
        for step in self.steps:
            kinds = pruned if isinstance(step, Prune) else quantized
            if isinstance(step, Prune | Quantize) and kinds.isdisjoint(step.layers or ()):
                present = ", ".join(sorted(pruned | quantized))
                more = f"; in float: {left}" if left else ""
                raise ValueError(
                    f"{_text(step)} has nothing to act on: this model's compressed layers are {present}{more}"
                )

    def split(self) -> tuple["Recipe", "Recipe"]:
        """Return the steps up to the last `prune_structured`, which are taken once, and those that every version takes.

        >>> first, rest = Recipe.parse("prune_structured(amount=0.5) -> retrain -> prune(amount=0.5)").split()
        >>> str(first), str(rest)
        ('prune_structured(amount=0.5)', 'retrain() -> prune(amount=0.5)')
        """
        at = max((i for i, step in enumerate(self.steps, 1) if isinstance(step, PruneStructured)), default=0)
        return Recipe(*self.steps[:at]), Recipe(*self.steps[at:])

    def first(self, kind: type[S]) -> S | None:
        """Return the first step of a kind, None if there is none; a `Distill` is a `Retrain` too."""
        return next((step for step in self.steps if isinstance(step, kind)), None)


def _check_order(steps: tuple[Step, ...]) -> None:
    quantized: dict[Kind, Quantize] = {}
    formed: Step | None = None
    for at, step in enumerate(steps):
        if isinstance(step, Quantize):
            for kind in step.layers or ():
                if earlier := quantized.get(kind):
                    raise ValueError(f"{_text(step)} after {_text(earlier)}: {kind} weights are quantized once")
            quantized |= dict.fromkeys(step.layers or (), step)
        formed = formed or (step if isinstance(step, Prune | Quantize) else None)
        late = formed and isinstance(step, PruneStructured)
        require(not late, f"{_text(step)} after {_text(formed)}: whole units go before weights are masked or rounded")
        ramped = isinstance(step, Prune) and step.ramp
        trains = any(isinstance(later, Retrain) for later in steps[at + 1 :])
        require(not ramped or trains, f"{_text(step)} has no retrain or distill after it to ramp over")


def _check_pruning(steps: tuple[Step, ...]) -> None:
    masking = [step for step in steps if isinstance(step, Prune)]
    for one, other in combinations(masking, 2):
        shared = set(one.layers) & set(other.layers)
        alike = not shared or set(one.layers) == set(other.layers)
        names = ", ".join(kind for kind in KINDS if kind in shared)
        require(alike, f"{_text(one)} and {_text(other)} share {names} but not all layers: share all of them or none")
    for layers in dict.fromkeys(frozenset(step.layers) for step in masking):
        shares = [step for step in masking if frozenset(step.layers) == layers and step.share is not None]
        for before, step in pairwise(shares):
            _check_shares(before, step)


def _check_shares(before: Prune, step: Prune) -> None:
    pattern = step if step.pattern else before
    if pattern.pattern and before.share != step.share:
        other = before if pattern is step else step
        kept = f"{pattern.pattern} leaves exactly {_left(pattern)} of the weights"
        raise ValueError(f"{_text(before)} and {_text(step)} contradict each other: {kept}, not {_left(other)}")
    falls = (step.share or 0) < (before.share or 0)
    require(not falls, f"{_text(step)} after {_text(before)} changes nothing: what is pruned stays pruned")


def _left(step: Prune) -> str:
    return f"{1 - (step.share or 0):.0%}"


def _text(step: Step | None) -> str:
    if step is None:
        return ""
    plain = {f.name: f.default for f in fields(step)}
    settings = [(name, value) for name, value in asdict(step).items() if value != plain[name]]
    if isinstance(step, Quantize):
        usual = asdict(Quantize(step.weights, group=step.group))
        settings = [(name, value) for name, value in settings if name == "group" or value != usual[name]]
    first = [step.weights] if isinstance(step, Quantize) else []
    return f"{STEP_NAMES[type(step)]}({', '.join(first + [f'{name}={value!r}' for name, value in settings])})"


def _call(text: str) -> Step:
    """Read one call with literal settings; a word that is no literal stands for itself: `quantize(int8)`."""
    try:
        call = ast.parse(text, mode="eval").body
        if isinstance(call, ast.Name):
            call = ast.Call(call, [], [])
        if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Name)):
            raise SyntaxError
        named = {word.arg or "**": _literal(word.value) for word in call.keywords}
        first = [_literal(arg) for arg in call.args]
    except (SyntaxError, ValueError, RecursionError) as wrong:
        raise ValueError(f"a recipe is a chain like 'prune(amount=0.6) -> quantize(int8)', got {text!r}") from wrong
    names = [f.name for f in fields(_kind(call.func.id))]
    require(len(first) <= 1 and (not first or names[0] not in named), f"{text!r}: settings are named, after the first")
    return _step(call.func.id, dict(zip(names, first, strict=False)) | named)


def _literal(node: ast.expr) -> Any:
    if isinstance(node, ast.Tuple):
        return tuple(map(_literal, node.elts))
    return node.id if isinstance(node, ast.Name) else ast.literal_eval(node)


def _kind(name: Any) -> type:
    require(name in STEPS, f"a recipe has no step {name!r}; it has {', '.join(STEPS)}")
    return STEPS[name]


def _step(name: Any, settings: Mapping[str, Any]) -> Step:
    kind = _kind(name)
    known = [f.name for f in fields(kind)]
    unknown = sorted(set(settings) - set(known))
    require(not unknown, f"{name} has no {', '.join(unknown)}; it has {', '.join(known)}")
    try:
        step: Step = kind(**settings)
    except TypeError as wrong:
        raise ValueError(f"{name}: {wrong}") from wrong
    return step
