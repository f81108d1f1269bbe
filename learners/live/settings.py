"""What a pipeline says of its live experts: `Live(...)`, or `Intercept()` to leave them out.

Imports neither torch nor numba: most of a feed's processes have no live experts.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from compressors.arguments import named
from learners.live.features.fields import Fields, fields_of, without
from streams.errors import ConfigError

MOST_WEIGHTS = 1 << 23  # of a table: 32 classes at 2^18 slots; the learner and each server hold some 20 bytes a weight

if TYPE_CHECKING:
    from learners.live.experts.expert import Expert


@named(ConfigError)
@dataclass(frozen=True, kw_only=True)
class Wide:
    """What the tables read, and how large they are.

    `categories`, `numbers`, `text`: the fields to read as each of these; None: all that are so by their types (`str`,
        `bool`, Enum and Literal are categories; `float` and `int` numbers, small `int` categories too; a `str` of five
        words or more is a text). A field may be a number and a category. Fields in a struct are `name.field`.
    `crosses`: at most so many pairs of a row's categories and intervals of numbers.
    `bits`: a table has 2^bits slots.

    Raises:
        ConfigError: a number is out of its range.

    >>> from shadowstream import Wide
    >>> Wide(categories=["country", "hour"], crosses=0).bits
    18
    """

    categories: Collection[str] | None = None
    numbers: Collection[str] | None = None
    text: Collection[str] | None = None
    crosses: int = 128
    bits: int = 18

    def __post_init__(self) -> None:
        if not 8 <= self.bits <= 26 or not 0 <= self.crosses <= 65_536:
            raise ConfigError(f"Wide: bits must be 8 to 26 and crosses 0 to 65,536, got {self.bits} and {self.crosses}")

    def fields(self, kind: type, hidden: Collection[str] = ()) -> Fields:
        """Return what is read of rows of a features type, without those that are hidden.

        Raises:
            ConfigError: a name is none of its fields, or no field is left.
        """
        return without(fields_of(kind, self.categories, self.numbers, self.text), hidden)


@named(ConfigError)
@dataclass(frozen=True, kw_only=True)
class Live:
    """Live experts beside the compressed model: they learn from each outcome, and what all say is mixed by evidence.

    `wide`: what the tables read.
    `experts`: functions that make experts of yours, each with the members of `Expert`; they answer beside the tables.

    >>> from shadowstream import Live, Wide
    >>> Live(wide=Wide(crosses=64)).experts
    ()
    """

    wide: Wide = field(default_factory=Wide)
    experts: "Sequence[Callable[[], Expert]]" = ()


@named(ConfigError)
@dataclass(frozen=True, kw_only=True)
class Intercept:
    """No live experts: the compressed model answers, under its live intercept.

    >>> from shadowstream import Intercept
    >>> Intercept()
    Intercept()
    """
