"""What was done, how likely that was, and what it brought: the target of a bandit, from a label and its request.

Owns how these are read, and their bounds.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from msgspec import Struct

from compressors.arguments import shown
from learners.tasks.vocabulary import Names, index_of, names_of
from streams.errors import ConfigError, MalformedEvent
from streams.events import Label

UNKNOWN, AS_SERVED = -1.0, 0.0  # an action that only the request tells, and a propensity that what was served tells


class Taken(Struct, kw_only=True):
    """What was done, and how likely it was."""

    action: int | str
    propensity: float = AS_SERVED


class Rewarded(Taken, kw_only=True):
    """What was done, and what it brought."""

    reward: float


_logged = msgspec.json.Decoder(Taken).decode


@dataclass(frozen=True)
class Feedback:
    """The actions, where what was done is told, and the least and the most reward."""

    actions: Names
    logged: bool = False
    rewards: tuple[float, float] = (0.0, 1.0)

    def __post_init__(self) -> None:
        object.__setattr__(self, "actions", names_of(self.actions, f"{type(self).__name__}.actions", least=2))
        ends = tuple(self.rewards) if isinstance(self.rewards, Sequence) else ()
        if not (len(ends) == 2 and all(map(_finite, ends)) and ends[0] < ends[1]):
            given = f"{type(self).__name__}.rewards"
            raise ConfigError(
                f"{given} must be the least and the most reward, such as (0, 1), got {shown(self.rewards)}"
            )
        object.__setattr__(self, "rewards", tuple(map(float, ends)))

    @property
    def told(self) -> frozenset[str]:
        """The fields of a request that tell what was done: no model may see them."""
        return frozenset(Taken.__struct_fields__ if self.logged else ())

    def heard(self, label: Label) -> tuple[float, float, float]:
        """Return reward, action and propensity as a label has them.

        Raises:
            MalformedEvent: it does not have them, or one is out of range.
        """
        if self.logged and isinstance(label, float | int):
            return self.reward(label), UNKNOWN, AS_SERVED
        try:
            said = msgspec.convert(label, Rewarded)
        except msgspec.ValidationError as wrong:
            right = '{"action": …, "reward": …}' + " or the reward alone" * self.logged
            raise MalformedEvent(f"a label is {right}, got {shown(label)}: {wrong}") from None
        return self.reward(said.reward), *self._taken(said)

    def done(self, features: bytes) -> tuple[float, float]:
        """Return action and propensity as a request tells them.

        Raises:
            MalformedEvent: it does not, or one is out of range.
        """
        try:
            return self._taken(_logged(features))
        except msgspec.DecodeError as wrong:
            raise MalformedEvent(f"the request must have `action` and `propensity`, what was done: {wrong}") from None

    def _taken(self, said: Taken) -> tuple[float, float]:
        if said.propensity != AS_SERVED:
            propensity_of(said.propensity)
        return float(index_of(said.action, self.actions, "action")), said.propensity

    def reward(self, value: Any) -> float:
        """Return a reward.

        Raises:
            MalformedEvent: it is not a number, or out of range.
        """
        least, most = self.rewards
        if _finite(value) and least <= value <= most:
            return float(value)
        raise MalformedEvent(f"a reward is a number from {least:g} to {most:g}, got {shown(value)}")


def propensity_of(value: Any) -> float:
    """Return a propensity.

    Raises:
        MalformedEvent: it is no chance above 0.
    """
    if _finite(value) and 0 < value <= 1:
        return float(value)
    raise MalformedEvent(f"a propensity is above 0 and at most 1, got {shown(value)}")


def _finite(value: Any) -> bool:
    return isinstance(value, float | int) and math.isfinite(value)
