"""Which fields of a pipeline's features the live experts of its task read, and how many weights they have of each.

Imports no numba. Does not know how they learn.
"""

from learners.live.features.fields import Fields
from learners.live.features.items import Items
from learners.live.settings import Wide
from learners.tasks.bandit import Bandit
from learners.tasks.ranking import Ranking
from learners.tasks.task import Task


def read(wide: Wide, features: type, task: Task | None) -> Fields:
    """Return what is read: of a bandit not what another system did, of a ranking each item with its request.

    Raises:
        ConfigError: a name is no field, no field is left, or a ranking's features have not one list of items.
    """
    if isinstance(task, Ranking):
        return wide.fields(Items(features).row)
    return wide.fields(features, task.told if isinstance(task, Bandit) else ())


def columns(task: Task) -> int:
    """Return how many weights a slot of a table has."""
    return 1 if isinstance(task, Ranking) else task.count if isinstance(task, Bandit) else task.outputs
