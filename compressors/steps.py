"""The steps that a recipe is made of: their settings, and the bounds of each.

Owns what a step may be on its own. Knows no torch: the other files carry the steps out.
"""

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal, get_args

from compressors.arguments import named, shown

Kind = Literal["linear", "conv", "recurrent", "embedding"]
Inputs = Literal["row", "static", "float"]
Units = Literal["neurons", "channels", "heads"]
Scope = Literal["all", "layer", "lamp"]
Schedule = Literal["constant", "cosine"]
INTS = tuple(f"int{bits}" for bits in range(2, 9))
WEIGHTS = (*INTS, "bfloat16")
KINDS: tuple[Kind, ...] = get_args(Kind)
FINEST_CONV_BITS = 8  # fewer need learned scales (LSQ, arXiv 1902.08153) to be of use


@named(ValueError, called="prune")
@dataclass(frozen=True, kw_only=True)
class Prune:
    """Set weights to zero, under masks that later training keeps. Exactly one of these says which:

    - `amount`, a share in [0, 1): the weights that are smallest by `scope`. "all": in magnitude, among all layers;
      "layer": in magnitude, within each layer; "lamp": by LAMP (Lee et al., arXiv 2010.07611), a weight's square as a
      share of the squares in its layer that are not smaller, among all layers: it empties no layer.
    - `below`: the weights whose magnitude is below this threshold.
    - `pattern`: "N:M" keeps the N largest of every M neighbours in a row.

    If a training step follows, an amount rises by the cubic schedule (Zhu and Gupta, arXiv 1710.01878) over the first
    `ramp` of its steps, a share in [0, 1], by default 0.5; 0 prunes at once. `layers` are the kinds of layers meant,
    some of "linear", "conv", "recurrent" and "embedding".

    Raises:
        ValueError: not exactly one of the three, or a value out of its bounds.

    >>> Recipe(Prune(amount=0.6, scope="lamp"))
    Recipe(steps=(Prune(amount=0.6, below=None, pattern=None, scope='lamp', ramp=None, ...),))
    >>> Prune(pattern="2:4").share
    0.5
    """

    amount: float | None = None
    below: float | None = None
    pattern: str | None = None
    scope: Scope = "all"
    ramp: float | None = None
    layers: tuple[Kind, ...] = ("linear", "conv", "recurrent")

    def __post_init__(self) -> None:
        _check_kinds("prune", self)
        criteria = [name for name in ("amount", "below", "pattern") if getattr(self, name) is not None]
        got = " and ".join(criteria) or "none of them"
        require(len(criteria) == 1, f"prune takes one of amount, below and pattern, got {got}")
        amount, below, ramp = self.amount, self.below, self.ramp
        require(
            amount is None or 0 <= amount < 1,
            f"prune.amount is the share to remove, 0 <= amount < 1, got {amount}; a threshold is called below",
        )
        require(below is None or 0 <= below < math.inf, f"prune.below is a magnitude, at least 0, got {below}")
        require(ramp is None or 0 <= ramp <= 1, f"prune.ramp is a share of the steps, 0 <= ramp <= 1, got {ramp}")
        require(not ramp or amount is not None, f"prune.ramp goes with amount, not with {criteria[0]}, got {ramp}")
        require(self.scope in get_args(Scope), f"prune.scope must be all, layer or lamp, got {shown(self.scope)}")
        require(self.scope == "all" or amount is not None, f"prune.scope goes with amount, not with {criteria[0]}")
        if self.pattern is not None:
            require(self.kept is not None, f"prune.pattern is N:M with 0 < N < M, such as '2:4', got {self.pattern!r}")

    @property
    def kept(self) -> tuple[int, int] | None:
        """Return N and M of a pattern: how many of how many neighbours are kept."""
        match = re.fullmatch(r"([1-9]\d?):([1-9]\d?)", self.pattern or "")
        kept = (int(match[1]), int(match[2])) if match else None
        return kept if kept and kept[0] < kept[1] else None

    @property
    def share(self) -> float | None:
        """The share of weights that will be zero; None if it depends on the weights, as with `below`."""
        return 1 - self.kept[0] / self.kept[1] if self.kept else self.amount


@named(ValueError, called="prune_structured")
@dataclass(frozen=True, kw_only=True)
class PruneStructured:
    """Remove whole units, so that tensors get smaller and the model faster.

    `amount` is the share, 0 < amount < 1, of each layer's units; at least one stays. `units` are some of "neurons" (of
    Linear layers, those of a transformer's feed-forward among them), "channels" (of convolutions) and "heads" (of
    attention), by default all. The units with the smallest L2 norm of their weights go, grouped as in DepGraph (Fang et
    al., arXiv 2301.12900). It comes before any `prune` or `quantize` step.

    Raises:
        ValueError: a value out of its bounds.

    >>> import torch
    >>> net = torch.nn.Sequential(torch.nn.Linear(4, 16), torch.nn.ReLU(), torch.nn.Linear(16, 1))
    >>> rows = Data((torch.ones(8, 4),), torch.ones(8))
    >>> compress(net, Recipe(PruneStructured(amount=0.25)), rows, Binary()).model[0].weight.shape
    torch.Size([12, 4])
    """

    amount: float
    units: tuple[Units, ...] = get_args(Units)

    def __post_init__(self) -> None:
        units, known = _words(self.units), get_args(Units)
        require(0 < self.amount < 1, f"prune_structured.amount is a share, 0 < amount < 1, got {self.amount}")
        right = units and set(units) <= set(known)
        require(right, f"prune_structured.units are some of {', '.join(known)}, got {shown(self.units)}")
        object.__setattr__(self, "units", units)


@named(ValueError, called="quantize")
@dataclass(frozen=True)
class Quantize:
    """Store weights as whole numbers, symmetric, with a scale for each output channel; or as bfloat16.

    `weights` is "int2" to "int8", or "bfloat16". `inputs` says how the layer rounds what it multiplies:

    - "row": every input row to 8 bits, with its own scale, computed when it comes.
    - "static": to 8 bits, with one scale for the layer, which training or calibration has found and serving keeps.
    - "float": not at all. Then `group`, at least 2, may give each so many neighbours in a row a scale of their own.

    By default inputs are "row", and "float" for bfloat16 and groups. Embeddings and recurrent layers have float inputs
    in any case. `layers` are the kinds of layers meant, some of "linear", "conv", "recurrent" and "embedding"; by
    default all, but no convolutions below 8 bits, which would lose too much.

    Raises:
        ValueError: a value out of its bounds, or settings that contradict each other.

    >>> Quantize("int4", group=32).inputs
    'float'
    >>> Quantize("int8").bits
    8
    """

    weights: str = "int8"
    inputs: Inputs | None = None
    group: int | None = None
    layers: tuple[Kind, ...] | None = None

    def __post_init__(self) -> None:
        known = ", ".join(WEIGHTS)
        require(self.weights in WEIGHTS, f"quantize.weights must be one of {known}, got {shown(self.weights)}")
        if self.inputs is None:
            object.__setattr__(self, "inputs", "float" if self.weights == "bfloat16" or self.group else "row")
        inputs = get_args(Inputs)
        require(self.inputs in inputs, f"quantize.inputs must be one of {', '.join(inputs)}, got {shown(self.inputs)}")
        alone = self.inputs == "float"
        require(alone or self.weights != "bfloat16", f"bfloat16 weights have float inputs, not {self.inputs!r}")
        require(self.group is None or self.group >= 2, f"quantize.group must be at least 2, got {shown(self.group)}")
        require(self.group is None or alone, f"quantize.group is for float inputs: {self.inputs!r} needs whole rows")
        require(self.group is None or self.weights != "bfloat16", "bfloat16 weights have no scales to share in a group")
        fine = self.bits < FINEST_CONV_BITS
        if self.layers is None:
            object.__setattr__(self, "layers", tuple(kind for kind in KINDS if not (fine and kind == "conv")))
        _check_kinds("quantize", self)
        require(
            not (fine and "conv" in (self.layers or ())),
            f"{self.weights} on a convolution loses too much: a convolution's weights have at least 8 bits here",
        )

    @property
    def bits(self) -> int:
        """The bits of one stored weight."""
        return 16 if self.weights == "bfloat16" else int(self.weights[3:])


@named(ValueError, called="retrain")
@dataclass(frozen=True, kw_only=True)
class Retrain:
    """Train towards the real labels, under the masks and with the rounding of the steps before.

    `passes` are shuffled passes over the data, in batches of `batch` rows; `learning_rate` is AdamW's, in (0, 1).
    `schedule` is "constant", or "cosine": the rate rises over the first tenth of the steps and falls to zero. A network
    that was trained before, above all a transformer, needs this to end where it was.

    Raises:
        ValueError: a value out of its bounds.

    >>> str(Recipe(Prune(amount=0.9), Retrain(passes=5)))
    'prune(amount=0.9) -> retrain(passes=5)'
    """

    passes: int = 3
    batch: int = 256
    learning_rate: float = 1e-3
    schedule: Schedule = "constant"

    def __post_init__(self) -> None:
        name = STEP_NAMES[type(self)]
        require(self.passes >= 1, f"{name}.passes must be at least 1, got {shown(self.passes)}")
        require(self.batch >= 1, f"{name}.batch must be at least 1, got {shown(self.batch)}")
        require(0 < self.learning_rate < 1, f"{name}.learning_rate must be in (0, 1), got {self.learning_rate}")
        known = get_args(Schedule)
        require(self.schedule in known, f"{name}.schedule is {' or '.join(known)}, got {shown(self.schedule)}")


@named(ValueError, called="distill")
@dataclass(frozen=True, kw_only=True)
class Distill(Retrain):
    """As `Retrain`, and towards a teacher's answers as well (Hinton et al., arXiv 1503.02531).

    `alpha`, in [0, 1], is the teacher's share of the loss; it falls where the teacher is worse than the model itself
    (`compressors/distillation/distill.py`). `temperature` T softens the teacher's answers, whose loss is multiplied by
    T². `decoupled` weighs the classes that are not the label on their own (DKD, Zhao et al., arXiv 2203.08679); it
    needs at least two outputs. `hidden` is the weight of the distance between hidden states and attention maps, where
    both models show them (TinyBERT, arXiv 1909.10351; MiniLM, arXiv 2002.10957).

    Raises:
        ValueError: a value out of its bounds.

    >>> str(Recipe(Quantize("int8"), Distill(temperature=2.0, alpha=0.7)))
    'quantize(int8) -> distill(alpha=0.7, temperature=2.0)'
    """

    alpha: float = 0.5
    temperature: float = 1.0
    decoupled: bool = False
    hidden: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        require(0 <= self.alpha <= 1, f"distill.alpha is a share, 0 <= alpha <= 1, got {self.alpha}")
        require(0 < self.temperature < math.inf, f"distill.temperature must be positive, got {self.temperature}")
        require(0 <= self.hidden < math.inf, f"distill.hidden must be at least 0, got {self.hidden}")


Step = Prune | PruneStructured | Quantize | Retrain | Distill
STEP_NAMES: dict[type, str] = {
    Prune: "prune",
    PruneStructured: "prune_structured",
    Quantize: "quantize",
    Retrain: "retrain",
    Distill: "distill",
}
STEPS = {name: kind for kind, name in STEP_NAMES.items()}


def _check_kinds(name: str, step: Any) -> None:
    kinds = _words(step.layers)
    right = kinds and set(kinds) <= set(KINDS)
    require(right, f"{name}.layers are some of {', '.join(KINDS)}, got {shown(step.layers)}")
    object.__setattr__(step, "layers", kinds)


def _words(some: Any) -> tuple[Any, ...]:
    """Return the words of a parameter that takes one or several; none where it has other things."""
    words = (some,) if isinstance(some, str) else tuple(some) if isinstance(some, Iterable) else ()
    return words if all(isinstance(word, str) for word in words) else ()


def require(holds: object, otherwise: str) -> None:
    """Raise a ValueError that says what is wrong, if something does not hold."""
    if not holds:
        raise ValueError(otherwise)
