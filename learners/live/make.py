"""The live experts that settings ask for, which know nothing yet. Imports numba, which takes 60 MB."""

from collections.abc import Sequence
from functools import partial

from learners.live.chain import Chain
from learners.live.checked import Checked
from learners.live.expert import Pooled
from learners.live.features.features import Features
from learners.live.features.reader import Reader
from learners.live.news import AGES_MS
from learners.live.pool import Pool, chain_ages
from learners.live.recent import Recent
from learners.live.settings import Live, Wide
from learners.live.softmax import Softmax
from learners.live.tables.adaptive import Adaptive
from learners.live.tables.gaussian import Gaussian
from learners.live.tables.softmax import SoftmaxAdaptive, SoftmaxGaussian
from learners.live.wide import Linear, Table
from learners.tasks.classes import Classes
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
    reader, classes = Reader(live.wide.fields(features)), task.outputs if isinstance(task, Classes) else 1
    theirs = [Checked(make, at, classes) for at, make in enumerate(live.experts)]
    ours = linear(live.wide, reader) if classes == 1 else linear_of_classes(live.wide, reader, classes)
    experts: list[Pooled] = [ours, *theirs]
    names = [*OURS, *Recent(reader).names, *(name for expert in experts for name in expert.names)]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ConfigError(f"Live.experts: two experts are called {twice[0]!r}; give each a name of its own")
    if classes > 1:
        mixing = partial(Softmax, classes)
        return Pool(features, experts, None, None, outputs=classes, mixing=mixing)
    return Pool(features, experts, chain(live.wide, reader, len(chain_ages(AGES_MS))), Recent(reader))


def linear(wide: Wide, reader: Reader, tables: Sequence[str] = ("nag", "w4")) -> Linear:
    """Return an expert of tables over all that is read, one column each."""
    made = {name: TABLES[name](wide.bits) for name in tables}
    return Linear(Features(reader, wide.crosses, wide.bits), made, wide.bits)


def linear_of_classes(wide: Wide, reader: Reader, classes: int) -> Linear:
    """Return an expert of tables of classes, so many columns each."""
    tables: dict[str, Table] = {"nag": SoftmaxAdaptive(wide.bits, classes), "w4": SoftmaxGaussian(wide.bits, classes)}
    return Linear(Features(reader, wide.crosses, wide.bits), tables, wide.bits, classes)


def chain(wide: Wide, reader: Reader, marks: int) -> Chain:
    """Return a hazard chain of so many marks over all that is read."""
    return Chain(Features(reader, wide.crosses, wide.bits), wide.bits, marks)
