"""The live experts that settings ask for, which know nothing yet. Imports numba, which takes 60 MB."""

from collections.abc import Callable, Sequence
from functools import partial
from math import inf

from learners.live.chain import Chain
from learners.live.change import Change
from learners.live.checked import Checked
from learners.live.estimated import Estimated
from learners.live.expert import Combining, Pooled
from learners.live.features.features import Features
from learners.live.features.reader import Reader
from learners.live.news import AGES_MS
from learners.live.number import Number
from learners.live.policies import Policies
from learners.live.pool import Pool, chain_ages
from learners.live.recent import Recent
from learners.live.settings import Live, Wide
from learners.live.several import Several
from learners.live.softmax import Softmax
from learners.live.tables.adaptive import Adaptive
from learners.live.tables.gaussian import Gaussian
from learners.live.tables.number import Number as NumberTable
from learners.live.tables.rewards import Rewards
from learners.live.tables.several import SeveralAdaptive, SeveralGaussian
from learners.live.tables.softmax import SoftmaxAdaptive, SoftmaxGaussian
from learners.live.wide import Linear, Table
from learners.tasks.bandit import Bandit
from learners.tasks.classes import Classes
from learners.tasks.multilabel import MultiLabel
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
    reader, width, numbers = Reader(live.wide.fields(features)), 1, isinstance(task, Regression | Quantile)
    ours: Pooled = linear(live.wide, reader)
    labels = 0.0, 1.0
    mixing: Callable[[int, float, float], Combining] | None = None
    if isinstance(task, Classes):
        width, mixing = task.outputs, partial(Softmax, task.outputs)
        ours, labels = linear_of_classes(live.wide, reader, width), (0.0, width - 1.0)
    elif isinstance(task, MultiLabel):
        width, mixing = task.outputs, partial(Several, task.outputs)
        ours = linear_of_labels(live.wide, reader, width)
    elif isinstance(task, Bandit):
        width, mixing, labels = task.outputs, partial(Policies, task), (-inf, inf)
        reader = Reader(live.wide.fields(features, task.told))
        ours = linear_of_actions(live.wide, reader, task)
    elif isinstance(task, Regression | Quantile):
        shape = shape_of(task)
        ours, labels, mixing = linear_of_numbers(live.wide, reader, *shape), (-inf, inf), partial(Number, *shape)
    theirs = [Checked(make, at, width, labels) for at, make in enumerate(live.experts)]
    experts: list[Pooled] = [ours, *theirs]
    names = [*OURS, *Recent(reader).names, *(name for expert in experts for name in expert.names)]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ConfigError(f"Live.experts: two experts are called {twice[0]!r}; give each a name of its own")
    if mixing:
        return Pool(features, experts, None, None, outputs=width, mixing=mixing, exact=numbers)
    late = chain(live.wide, reader, len(chain_ages(AGES_MS)))
    return Pool(features, experts, late, Recent(reader), change=Change(features, reader))


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


def shape_of(task: Regression | Quantile) -> tuple[float, float]:
    """Return δ of Huber's loss, and the level of a quantile, 0 where there is none."""
    return (1.0, task.level) if isinstance(task, Quantile) else (task.delta, 0.0)


def chain(wide: Wide, reader: Reader, marks: int) -> Chain:
    """Return a hazard chain of so many marks over all that is read."""
    return Chain(Features(reader, wide.crosses, wide.bits), wide.bits, marks)
