"""The live experts that settings ask for, which know nothing yet. Imports numba, which takes 60 MB."""

from collections.abc import Callable, Sequence
from functools import partial
from math import inf
from typing import NamedTuple

from learners.live.change import Change
from learners.live.experts.chain import Chain
from learners.live.experts.checked import Checked
from learners.live.experts.estimated import Estimated
from learners.live.experts.expert import Combining, Pooled
from learners.live.experts.order import Order
from learners.live.experts.wide import Linear, Table
from learners.live.features.features import Features
from learners.live.features.items import Items
from learners.live.features.reader import Reader
from learners.live.mixtures.number import Number
from learners.live.mixtures.orders import Orders
from learners.live.mixtures.policies import Policies
from learners.live.mixtures.several import Several
from learners.live.mixtures.softmax import Softmax
from learners.live.news import AGES_MS
from learners.live.pool import Pool, chain_ages
from learners.live.reading import read
from learners.live.recent import Recent
from learners.live.settings import Live, Wide
from learners.live.tables.adaptive import Adaptive
from learners.live.tables.gaussian import Gaussian
from learners.live.tables.number import Number as NumberTable
from learners.live.tables.pairs import Pairs
from learners.live.tables.rewards import Rewards
from learners.live.tables.several import SeveralAdaptive, SeveralGaussian
from learners.live.tables.softmax import SoftmaxAdaptive, SoftmaxGaussian
from learners.tasks.bandit import Bandit
from learners.tasks.classes import Classes
from learners.tasks.multilabel import MultiLabel
from learners.tasks.ranking import Ranking
from learners.tasks.regression import Quantile, Regression
from learners.tasks.task import Task
from streams.errors import ConfigError

TABLES: dict[str, type[Adaptive] | type[Gaussian]] = {"nag": Adaptive, "w4": Gaussian}
OURS = ("deep", "intercept", "chain")


def pool(live: Live, features: type, task: Task | None = None) -> Pool:
    """Return the experts over rows of a type; without a task they say yes or no.

    Raises:
        ConfigError: no field of the type can be read, a name is none of its fields, an expert is none, or two experts
            have one name.
    """
    made = parts(live.wide, Reader(read(live.wide, features, task)), features, task)
    theirs = [Checked(make, at, made.width, made.labels) for at, make in enumerate(live.experts)]
    experts: list[Pooled] = [made.ours, *theirs]
    names = [*OURS, *Recent(made.reader).names, *(name for expert in experts for name in expert.names)]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ConfigError(f"Live.experts: two experts are called {twice[0]!r}; give each a name of its own")
    if made.mixing:
        exact = isinstance(task, Regression | Quantile)
        return Pool(features, experts, None, None, outputs=made.width, mixing=made.mixing, exact=exact)
    late = chain(live.wide, made.reader, len(chain_ages(AGES_MS)))
    return Pool(features, experts, late, Recent(made.reader), change=Change(features, made.reader))


class Parts(NamedTuple):
    """What a task has: our expert, the least and the largest label, the columns of a name, and what makes its mixture.

    Without `mixing` the experts say yes or no.
    """

    reader: Reader
    ours: Pooled
    labels: tuple[float, float] = (0.0, 1.0)
    width: int = 1
    mixing: Callable[[int, float, float], Combining] | None = None


def parts(wide: Wide, reader: Reader, features: type, task: Task | None) -> Parts:
    """Return what a task has, over all that is read."""
    any_, width = (-inf, inf), task.outputs if task else 1
    match task:
        case Classes():
            ours: Pooled = linear_of_classes(wide, reader, width)
            return Parts(reader, ours, (0.0, width - 1.0), width, partial(Softmax, width))
        case MultiLabel():
            return Parts(reader, linear_of_labels(wide, reader, width), width=width, mixing=partial(Several, width))
        case Bandit():
            return Parts(reader, linear_of_actions(wide, reader, task), any_, width, partial(Policies, task))
        case Ranking():
            ours = Order(linear_of_items(wide, reader), Items(features), width)
            return Parts(reader, ours, any_, width, partial(Orders, width))
        case Regression() | Quantile():
            shape = shape_of(task)
            return Parts(reader, linear_of_numbers(wide, reader, *shape), any_, 1, partial(Number, *shape))
    return Parts(reader, linear(wide, reader))


def linear(wide: Wide, reader: Reader, tables: Sequence[str] = ("nag", "w4")) -> Linear:
    """Return an expert of tables over all that is read, one column each."""
    made = {name: TABLES[name](wide.bits) for name in tables}
    return Linear(Features(reader, wide.crosses, wide.bits), made, wide.bits)


def linear_of_classes(wide: Wide, reader: Reader, classes: int) -> Linear:
    """Return an expert of tables of classes, so many columns each."""
    tables: dict[str, Table] = {
        "nag": SoftmaxAdaptive(wide.bits, classes),
        "w4": SoftmaxGaussian(wide.bits, classes),
    }
    return Linear(Features(reader, wide.crosses, wide.bits), tables, wide.bits, classes)


def linear_of_labels(wide: Wide, reader: Reader, classes: int) -> Linear:
    """Return an expert of tables of classes, any of which may apply, so many columns each."""
    tables: dict[str, Table] = {
        "nag": SeveralAdaptive(wide.bits, classes),
        "w4": SeveralGaussian(wide.bits, classes),
    }
    return Linear(Features(reader, wide.crosses, wide.bits), tables, wide.bits, classes)


def linear_of_numbers(wide: Wide, reader: Reader, delta: float, level: float) -> Linear:
    """Return an expert of one table of numbers."""
    tables: dict[str, Table] = {"w4": NumberTable(wide.bits, delta, level)}
    return Linear(Features(reader, wide.crosses, wide.bits), tables, wide.bits)


def linear_of_actions(wide: Wide, reader: Reader, task: Bandit) -> Linear | Estimated:
    """Return an expert of one table of what each action brings."""
    tables: dict[str, Table] = {"w4": Rewards(wide.bits, task)}
    made = Linear(Features(reader, wide.crosses, wide.bits), tables, wide.bits, task.count)
    return Estimated(made) if task.doubly_robust else made


def linear_of_items(wide: Wide, reader: Reader) -> Linear:
    """Return an expert of one table that scores items."""
    tables: dict[str, Table] = {"w4": Pairs(wide.bits)}
    return Linear(Features(reader, wide.crosses, wide.bits), tables, wide.bits)


def shape_of(task: Regression | Quantile) -> tuple[float, float]:
    """Return δ of Huber's loss, and the level of a quantile, 0 where there is none."""
    return (1.0, task.level) if isinstance(task, Quantile) else (task.delta, 0.0)


def chain(wide: Wide, reader: Reader, marks: int) -> Chain:
    """Return a hazard chain of so many marks over all that is read."""
    return Chain(Features(reader, wide.crosses, wide.bits), wide.bits, marks)
