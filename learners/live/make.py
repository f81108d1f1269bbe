"""The live experts that settings ask for, which know nothing yet. Imports numba, which takes 60 MB."""

from collections.abc import Sequence

from learners.live.chain import Chain
from learners.live.checked import Checked
from learners.live.expert import Pooled
from learners.live.features.features import Features
from learners.live.features.reader import Reader
from learners.live.news import AGES_MS
from learners.live.pool import Pool, chain_ages
from learners.live.recent import Recent
from learners.live.settings import Live, Wide
from learners.live.tables.adaptive import Adaptive
from learners.live.tables.gaussian import Gaussian
from learners.live.wide import Linear
from streams.errors import ConfigError

TABLES: dict[str, type[Adaptive] | type[Gaussian]] = {"nag": Adaptive, "w4": Gaussian}
OURS = ("deep", "intercept", "chain")


def pool(live: Live, features: type) -> Pool:
    """Return the experts over rows of a type.

    Raises:
        ConfigError: no field of the type can be read, a name is none of its fields, an expert is none, or two experts
            have one name.
    """
    reader = Reader(live.wide.fields(features))
    experts: list[Pooled] = [linear(live.wide, reader), *(Checked(make, at) for at, make in enumerate(live.experts))]
    names = [*OURS, *Recent(reader).names, *(name for expert in experts for name in expert.names)]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ConfigError(f"Live.experts: two experts are called {twice[0]!r}; give each a name of its own")
    return Pool(features, experts, chain(live.wide, reader, len(chain_ages(AGES_MS))), Recent(reader))


def linear(wide: Wide, reader: Reader, tables: Sequence[str] = ("nag", "w4")) -> Linear:
    """Return an expert of tables over all that is read, one column each."""
    made = {name: TABLES[name](wide.bits) for name in tables}
    return Linear(Features(reader, wide.crosses, wide.bits), made, wide.bits)


def chain(wide: Wide, reader: Reader, marks: int) -> Chain:
    """Return a hazard chain of so many marks over all that is read."""
    return Chain(Features(reader, wide.crosses, wide.bits), wide.bits, marks)
