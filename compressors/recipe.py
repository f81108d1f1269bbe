"""A compression recipe: how much to prune, how finely to quantize, how to distill. Plain values, JSON-able.

Owns the settings, their bounds and their identity. Does not know torch: the other files carry them out.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from hashlib import sha256
from typing import Any, TypeVar

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class Prune:
    """Zero the `amount` (a share, not a threshold) of all Linear weights that is smallest in magnitude.

    Sparsity rises by the cubic schedule over the first `ramp` (share) of a distillation's steps; 0 prunes at once.
    """

    amount: float = 0.8
    ramp: float = 0.5

    def __post_init__(self) -> None:
        _require(0 <= self.amount < 1, f"prune.amount is the share to remove, 0 <= amount < 1, got {self.amount}")
        _require(0 <= self.ramp <= 1, f"prune.ramp is a share of the steps, 0 <= ramp <= 1, got {self.ramp}")


@dataclass(frozen=True, kw_only=True)
class Quantize:
    """Symmetric per-channel weights of `bits` bits; activations are 8 bits a row."""

    bits: int = 8

    def __post_init__(self) -> None:
        _require(isinstance(self.bits, int) and 2 <= self.bits <= 8, f"quantize.bits must be 2 to 8, got {self.bits}")


@dataclass(frozen=True, kw_only=True)
class Distill:
    """`passes` shuffled passes over the replay in batches of `batch`; `alpha` is the teacher's share of the loss."""

    alpha: float = 0.5
    temperature: float = 1.0
    passes: int = 3
    batch: int = 256
    learning_rate: float = 1e-3

    def __post_init__(self) -> None:
        _require(0 <= self.alpha <= 1, f"distill.alpha is a share, 0 <= alpha <= 1, got {self.alpha}")
        _require(0 < self.temperature < float("inf"), f"distill.temperature must be positive, got {self.temperature}")
        _require(self.passes >= 1, f"distill.passes must be at least 1, got {self.passes}")
        _require(self.batch >= 1, f"distill.batch must be at least 1, got {self.batch}")
        _require(0 < self.learning_rate < 1, f"distill.learning_rate must be in (0, 1), got {self.learning_rate}")


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """All of it. Equal recipes have equal digests; the promotion gate treats them as one lineage."""

    prune: Prune = field(default_factory=Prune)
    quantize: Quantize = field(default_factory=Quantize)
    distill: Distill = field(default_factory=Distill)

    def to_dict(self) -> dict[str, Any]:
        """Give nested plain dicts, ready for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, given: Mapping[str, Any]) -> "Recipe":
        """Read what `to_dict` gave; missing parts take their defaults.

        Raises:
            ValueError: an unknown key, or a value out of its bounds.
        """
        parts = {"prune": Prune, "quantize": Quantize, "distill": Distill}
        return _read(
            cls, "recipe", {name: _read(parts[name], name, v) if name in parts else v for name, v in given.items()}
        )

    def digest(self) -> str:
        """Give 16 hex digits that are equal for equal recipes."""
        return sha256(json.dumps(self.to_dict(), sort_keys=True).encode()).hexdigest()[:16]


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise ValueError(otherwise)


def _read(kind: type[T], name: str, given: Mapping[str, Any]) -> T:
    known = [f.name for f in fields(kind)]  # type: ignore[arg-type]
    unknown = sorted(set(given) - set(known))
    _require(not unknown, f"{name} has no {', '.join(unknown)}; it has {', '.join(known)}")
    return kind(**given)
