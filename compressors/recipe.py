"""A compression recipe: a chain of steps such as `prune(amount=0.6) -> quantize("int8") -> distill(temperature=2)`.

Owns the steps' settings, their bounds, what contradicts what, and the recipe's identity. Does not know torch: the other
files carry the steps out, and whether a recipe suits a model is theirs to say.
"""

import ast
import json
import math
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from hashlib import sha256
from typing import Any, Literal, TypeVar, get_args

Kind = Literal["linear", "conv", "recurrent", "embedding"]
Inputs = Literal["row", "static", "float"]
Units = Literal["neurons", "channels", "heads"]
Scope = Literal["all", "layer"]
S = TypeVar("S")
INTS = tuple(f"int{bits}" for bits in range(2, 9))
WEIGHTS = (*INTS, "bfloat16")
KINDS: tuple[Kind, ...] = get_args(Kind)
FINEST_CONV_BITS = 8  # fewer need learned scales (LSQ, arXiv 1902.08153) to be of use
ARROW = re.compile(r"\s*(?:->|→)\s*")


@dataclass(frozen=True, kw_only=True)
class Prune:
    """Zero weights, chosen in one of three ways that are not the same.

    `amount`: the share of them that is smallest in magnitude, among `all` weights together or within each `layer`.
    `below`: every weight whose magnitude is below this threshold. `pattern`: "N:M" keeps the N largest of every M
    neighbours in a row. Where a training step follows, an amount rises by the cubic schedule over the first `ramp`
    (a share) of its steps, 0.5 if not given; 0 prunes at once. `layers` are the kinds of layers whose weights count.
    """

    amount: float | None = None
    below: float | None = None
    pattern: str | None = None
    scope: Scope = "all"
    ramp: float | None = None
    layers: tuple[Kind, ...] = ("linear", "conv", "recurrent")

    def __post_init__(self) -> None:
        _check_kinds("prune", self)
        given = [name for name in ("amount", "below", "pattern") if getattr(self, name) is not None]
        _require(len(given) == 1, f"prune takes one of amount, below and pattern, got {given or 'none of them'}")
        amount, below, ramp = self.amount, self.below, self.ramp
        _require(
            amount is None or 0 <= amount < 1,
            f"prune.amount is the share to remove, 0 <= amount < 1, got {amount}; a threshold is called below",
        )
        _require(below is None or 0 <= below < math.inf, f"prune.below is a magnitude, at least 0, got {below}")
        _require(ramp is None or 0 <= ramp <= 1, f"prune.ramp is a share of the steps, 0 <= ramp <= 1, got {ramp}")
        _require(not ramp or amount is not None, f"prune.ramp goes with amount, not with {given[0]}, got {ramp}")
        _require(self.scope in get_args(Scope), f"prune.scope must be all or layer, got {self.scope!r}")
        _require(self.scope == "all" or amount is not None, f"prune.scope goes with amount, not with {given[0]}")
        if self.pattern is not None:
            _require(self.kept is not None, f"prune.pattern is N:M with 0 < N < M, such as '2:4', got {self.pattern!r}")

    @property
    def kept(self) -> tuple[int, int] | None:
        """Of a pattern, how many of how many neighbours are kept."""
        found = re.fullmatch(r"([1-9]\d?):([1-9]\d?)", self.pattern or "")
        kept = (int(found[1]), int(found[2])) if found else None
        return kept if kept and kept[0] < kept[1] else None

    @property
    def share(self) -> float | None:
        """The share of weights that will be zero, where the settings say it."""
        return 1 - self.kept[0] / self.kept[1] if self.kept else self.amount


@dataclass(frozen=True, kw_only=True)
class PruneStructured:
    """Remove the share `amount` of whole `units`, so that tensors get smaller: neurons of Linear layers (feed-forward
    rows among them), channels of convolutions, heads of attention.
    """

    amount: float
    units: tuple[Units, ...] = get_args(Units)

    def __post_init__(self) -> None:
        object.__setattr__(self, "units", (self.units,) if isinstance(self.units, str) else tuple(self.units))
        _require(0 < self.amount < 1, f"prune_structured.amount is a share, 0 < amount < 1, got {self.amount}")
        known = set(self.units) <= set(get_args(Units)) and self.units
        _require(known, f"prune_structured.units are some of {', '.join(get_args(Units))}, got {self.units}")


@dataclass(frozen=True)
class Quantize:
    """Store `weights` as whole numbers of 2 to 8 bits or as bfloat16, symmetric, with a scale for each output channel.

    `inputs`: "row" gives every input row its own 8-bit scale as it comes; "static" uses ranges that moved with training
    or calibration and then stand still (the way of convolutions); "float" quantizes nothing but the weights, and then
    `group` may give every so many neighbours in a row a scale of their own. Not given: "row", and "float" for bfloat16
    and groups. Embeddings and recurrent layers have float inputs in any case. `layers` are the kinds of layers meant;
    not given: all, without convolutions below 8 bits.
    """

    weights: str = "int8"
    inputs: Inputs | None = None
    group: int | None = None
    layers: tuple[Kind, ...] | None = None

    def __post_init__(self) -> None:
        _require(self.weights in WEIGHTS, f"quantize.weights must be one of {', '.join(WEIGHTS)}, got {self.weights!r}")
        if self.inputs is None:
            object.__setattr__(self, "inputs", "float" if self.weights == "bfloat16" or self.group else "row")
        _require(self.inputs in get_args(Inputs), f"quantize.inputs must be row, static or float, got {self.inputs!r}")
        alone = self.inputs == "float"
        _require(alone or self.weights != "bfloat16", f"bfloat16 weights have float inputs, not {self.inputs!r}")
        _require_whole("quantize", group=0 if self.group is None else self.group)
        _require(self.group is None or self.group >= 2, f"quantize.group must be at least 2, got {self.group}")
        _require(self.group is None or alone, f"quantize.group is for float inputs: {self.inputs!r} needs whole rows")
        _require(
            self.group is None or self.weights != "bfloat16", "bfloat16 weights have no scales to share in a group"
        )
        fine = self.bits < FINEST_CONV_BITS
        if self.layers is None:
            object.__setattr__(self, "layers", tuple(kind for kind in KINDS if not (fine and kind == "conv")))
        _check_kinds("quantize", self)
        _require(
            not (fine and "conv" in (self.layers or ())),
            f"{self.weights} on a convolution loses too much: a convolution's weights have at least 8 bits here",
        )

    @property
    def bits(self) -> int:
        """Bits of a weight."""
        return 16 if self.weights == "bfloat16" else int(self.weights[3:])


@dataclass(frozen=True, kw_only=True)
class Retrain:
    """`passes` shuffled passes over the data in batches of `batch`, towards the real labels, under the masks."""

    passes: int = 3
    batch: int = 256
    learning_rate: float = 1e-3

    def __post_init__(self) -> None:
        name = STEP_NAMES[type(self)]
        _require_whole(name, passes=self.passes, batch=self.batch)
        _require(self.passes >= 1, f"{name}.passes must be at least 1, got {self.passes}")
        _require(self.batch >= 1, f"{name}.batch must be at least 1, got {self.batch}")
        _require(0 < self.learning_rate < 1, f"{name}.learning_rate must be in (0, 1), got {self.learning_rate}")


@dataclass(frozen=True, kw_only=True)
class Distill(Retrain):
    """As `Retrain`, with a teacher: `alpha` is its share of the loss, its answers are softened by `temperature`.

    `decoupled` weighs the classes that are not the label on their own (DKD). `hidden` is the weight of the distance
    between hidden states and attention maps, where both models have them.
    """

    alpha: float = 0.5
    temperature: float = 1.0
    decoupled: bool = False
    hidden: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        _require(0 <= self.alpha <= 1, f"distill.alpha is a share, 0 <= alpha <= 1, got {self.alpha}")
        _require(0 < self.temperature < math.inf, f"distill.temperature must be positive, got {self.temperature}")
        _require(0 <= self.hidden < math.inf, f"distill.hidden must be at least 0, got {self.hidden}")


Step = Prune | PruneStructured | Quantize | Retrain | Distill
STEP_NAMES: dict[type, str] = {
    Prune: "prune",
    PruneStructured: "prune_structured",
    Quantize: "quantize",
    Retrain: "retrain",
    Distill: "distill",
}
STEPS = {name: kind for kind, name in STEP_NAMES.items()}


@dataclass(frozen=True, init=False)
class Recipe:
    """The steps in their order. Equal recipes have equal digests; the promotion gate treats them as one lineage.

    Raises:
        ValueError: a value out of its bounds, or steps that contradict each other; says which and why.
    """

    steps: tuple[Step, ...]

    def __init__(self, *steps: Step) -> None:
        object.__setattr__(self, "steps", steps)
        for step in steps:
            _require(type(step) in STEP_NAMES, f"a recipe is made of {', '.join(STEPS)}, got {step!r}")
        _check_order(steps)
        _check_pruning(steps)

    def __str__(self) -> str:
        """Give the text that `parse` reads."""
        return " -> ".join(map(_text, self.steps))

    @classmethod
    def parse(cls, text: str) -> "Recipe":
        """Read a chain of calls with arrows between them; no text is the empty recipe."""
        return cls(*map(_call, ARROW.split(text.strip()))) if text.strip() else cls()

    def to_dict(self) -> dict[str, Any]:
        """Give nested plain dicts, ready for JSON."""
        return {"steps": [{"step": STEP_NAMES[type(step)]} | asdict(step) for step in self.steps]}

    @classmethod
    def from_dict(cls, given: Mapping[str, Any]) -> "Recipe":
        """Read what `to_dict` gave; missing settings take their defaults.

        Raises:
            ValueError: an unknown step or setting, or a value out of its bounds.
        """
        _require(set(given) == {"steps"}, f"a recipe has one member, steps, got {sorted(given)}")
        return cls(*(_step(one.get("step"), {k: v for k, v in one.items() if k != "step"}) for one in given["steps"]))

    def digest(self) -> str:
        """Give 16 hex digits that are equal for equal recipes."""
        return sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()[:16]

    def first(self, kind: type[S]) -> S | None:
        """Give the first step of a kind; a `Distill` is a `Retrain` too."""
        return next((step for step in self.steps if isinstance(step, kind)), None)


def _check_kinds(name: str, step: Any) -> None:
    kinds = (step.layers,) if isinstance(step.layers, str) else tuple(step.layers)
    object.__setattr__(step, "layers", kinds)
    _require(kinds and set(kinds) <= set(KINDS), f"{name}.layers are some of {', '.join(KINDS)}, got {step.layers}")


def _check_order(steps: tuple[Step, ...]) -> None:
    quantized = formed = None
    for step in steps:
        if isinstance(step, Quantize):
            _require(quantized is None, f"{_text(step)} after {_text(quantized)}: weights are quantized once")
            quantized = step
        formed = formed or (step if isinstance(step, Prune | Quantize) else None)
        late = formed and isinstance(step, PruneStructured)
        _require(not late, f"{_text(step)} after {_text(formed)}: whole units go before weights are masked or rounded")
    for i, step in enumerate(steps):
        ramped = isinstance(step, Prune) and step.ramp
        trains = any(isinstance(later, Retrain) for later in steps[i + 1 :])
        _require(not ramped or trains, f"{_text(step)} has no retrain or distill behind it to ramp over")


def _check_pruning(steps: tuple[Step, ...]) -> None:
    before: Prune | None = None
    masking = [step for step in steps if isinstance(step, Prune)]
    for other in masking[1:]:
        alike = set(other.layers) == set(masking[0].layers)
        _require(alike, f"{_text(masking[0])} and {_text(other)}: the prune steps of a recipe share their layers")
    for step in steps:
        if not isinstance(step, Prune) or step.share is None:
            continue
        pattern = step if step.pattern else before if before and before.pattern else None
        if before and pattern and before.share != step.share:
            other = before if pattern is step else step
            kept = f"{pattern.pattern} leaves exactly {1 - (pattern.share or 0):.0%} of the weights"
            raise ValueError(f"{_text(before)} and {_text(step)} contradict each other: {kept}, not {_left(other)}")
        falls = before and step.share < (before.share or 0)
        _require(not falls, f"{_text(step)} after {_text(before)} changes nothing: what is pruned stays pruned")
        before = step


def _left(step: Prune) -> str:
    return f"{1 - (step.share or 0):.0%}"


def _text(step: Step | None) -> str:
    if step is None:
        return ""
    plain = {f.name: f.default for f in fields(step)}
    given = [(name, value) for name, value in asdict(step).items() if value != plain[name]]
    if isinstance(step, Quantize):
        usual = asdict(Quantize(step.weights, group=step.group))
        given = [(name, value) for name, value in given if name == "group" or value != usual[name]]
    first = [step.weights] if isinstance(step, Quantize) else []
    return f"{STEP_NAMES[type(step)]}({', '.join(first + [f'{name}={value!r}' for name, value in given])})"


def _call(text: str) -> Step:
    """Read one call with literal settings; a word that is no literal stands for itself: `quantize(int8)`."""
    try:
        call = ast.parse(text, mode="eval").body
        if isinstance(call, ast.Name):
            return _step(call.id, {})
        if not (isinstance(call, ast.Call) and isinstance(call.func, ast.Name)):
            raise SyntaxError
        named = {word.arg or "**": _literal(word.value) for word in call.keywords}
        first = [_literal(arg) for arg in call.args]
    except (SyntaxError, ValueError, RecursionError) as wrong:
        raise ValueError(f"a recipe is a chain like 'prune(amount=0.6) -> quantize(int8)', got {text!r}") from wrong
    names = [f.name for f in fields(_kind(call.func.id))]
    _require(len(first) <= 1 and (not first or names[0] not in named), f"{text!r}: settings are named, after the first")
    return _step(call.func.id, dict(zip(names, first, strict=False)) | named)


def _literal(node: ast.expr) -> Any:
    if isinstance(node, ast.Tuple):
        return tuple(map(_literal, node.elts))
    return node.id if isinstance(node, ast.Name) else ast.literal_eval(node)


def _kind(name: Any) -> type:
    _require(name in STEPS, f"a recipe has no step {name!r}; it has {', '.join(STEPS)}")
    return STEPS[name]


def _step(name: Any, given: Mapping[str, Any]) -> Step:
    kind = _kind(name)
    known = [f.name for f in fields(kind)]
    unknown = sorted(set(given) - set(known))
    _require(not unknown, f"{name} has no {', '.join(unknown)}; it has {', '.join(known)}")
    try:
        step: Step = kind(**given)
    except TypeError as wrong:
        raise ValueError(f"{name}: {wrong}") from wrong
    return step


def _require_whole(step: str, **given: object) -> None:
    for name, value in given.items():
        _require(type(value) is int, f"{step}.{name} must be a whole number, got {value!r}")


def _require(holds: object, otherwise: str) -> None:
    if not holds:
        raise ValueError(otherwise)
