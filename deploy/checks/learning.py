"""What may learn and judge a pipeline's outcomes: live experts, trust, private updates, slices.

Owns these messages. Does not know what the parts do.
"""

from compressors.arguments import shown
from learners.labels.settings import Trust
from learners.live.features.fields import fields_of, paths_of
from learners.live.reading import columns, read
from learners.live.settings import MOST_WEIGHTS, Intercept, Live
from learners.tasks.bandit import Bandit
from learners.tasks.binary import Binary
from learners.tasks.classes import Classes
from learners.tasks.multilabel import MultiLabel
from learners.tasks.ranking import Ranking
from learners.tasks.regression import Quantile, Regression
from learners.tasks.task import Task
from streams.errors import ConfigError

JUDGED = (Binary, Classes)
LEARNED = (Binary, Classes, MultiLabel, Regression, Quantile, Bandit, Ranking)  # by live experts


def live_of(live: object, task: Task, features: type) -> Live | Intercept:
    """Return what learns at once, and answers, beside the model: by default live experts, where they can.

    Raises:
        ConfigError: it is neither `Live` nor `Intercept`, or live experts cannot learn this task or read the features.
    """
    if live is None:
        try:
            return live_of(Live(), task, features)
        except ConfigError:
            return Intercept()
    if isinstance(live, Live):
        if not isinstance(task, LEARNED):
            raise ConfigError(
                "Pipeline.live: live experts learn Binary(), Classes(...), MultiLabel(...), Regression(), "
                f"Quantile(...), Bandit(...) and Ranking(...), not {shown(task)}; set live=Intercept()"
            )
        if (weights := columns(task) << live.wide.bits) > MOST_WEIGHTS:
            raise ConfigError(
                f"Pipeline.live: {columns(task)} classes in tables of 2^{live.wide.bits} slots are {weights:,} weights "
                f"each; at most {MOST_WEIGHTS:,} are kept: set Wide(bits=...) lower, or live=Intercept()"
            )
        read(live.wide, features, task)
    elif not isinstance(live, Intercept):
        raise ConfigError(f"Pipeline.live must be Live(...) or Intercept(), got {shown(live)}")
    return live


def check_private(live: object, trust: object, history: object) -> None:
    """Check that nothing else tells what private updates hide.

    Raises:
        ConfigError: something does; the message says what.
    """
    if isinstance(live, Live):
        raise ConfigError(
            "Pipeline.live=Live(...) with Online.private: live experts learn each outcome as it is, and serve it; "
            "set live=Intercept()"
        )
    if trust is not None:
        raise ConfigError(
            "Pipeline.trust with Online.private: what other samples say decides which are learned; leave trust out"
        )
    if history is None:
        raise ConfigError(
            "Online.private needs Pipeline(history=...): candidates are distilled on it, not on the feed's samples. "
            "Its rows are not protected: take public ones"
        )


def check_trust(trust: object, task: Task, features: type) -> None:
    """Check what a pipeline says of its trust.

    Raises:
        ConfigError: it is neither `Trust` nor None, or the task's answers or the features say too little.
    """
    if trust is None:
        return
    if not isinstance(trust, Trust):
        raise ConfigError(f"Pipeline.trust must be Trust(...) or None, got {shown(trust)}")
    if type(task) not in JUDGED:
        raise ConfigError(f"Pipeline.trust judges outcomes of Binary() and Classes(K), not of {shown(task)}")
    if trust.source is None:
        fields_of(features)
    known = paths_of(features)
    if isinstance(trust.source, str) and known and trust.source not in known:
        raise ConfigError(f"Trust.source: no field {trust.source!r} in the features; they have {', '.join(known)}")


def slices_of(slices: object, features: type) -> tuple[str, ...]:
    """Return the names of the fields by which what is served is measured.

    Raises:
        ConfigError: they are no names, or the features have no such field.
    """
    names = (slices,) if isinstance(slices, str) else slices
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
        raise ConfigError(f"Pipeline.slices must be a field's name, or a list of names, got {shown(slices)}")
    known = paths_of(features)
    if known and (wrong := [name for name in names if name not in known]):
        kind = getattr(features, "__name__", shown(features))
        raise ConfigError(f"Pipeline.slices: {kind} has no field {wrong[0]!r}; it has {', '.join(known)}")
    return tuple(dict.fromkeys(names))
