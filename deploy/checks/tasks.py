"""What a task must be, and what its features and join must be for it.

Owns these messages. Does not know what the parts do.
"""

from typing import Any

import msgspec
import torch

from compressors.arguments import shown
from deploy.loading import users_code
from learners.online.transforms.tabular import Tabular
from learners.tasks.task import Answering, Task
from streams.errors import ConfigError, MalformedEvent
from streams.events import Prediction
from streams.join.policy import JoinPolicy

TASKS = {
    "binary": "Binary()",
    "classes": "Classes(K)",
    "multilabel": "MultiLabel(K)",
    "regression": "Regression()",
    "quantile": "Quantile(0.9)",
    "bandit": "Bandit(K)",
    "ranking": "Ranking(K)",
    "nexttoken": "NextToken(V)",
    "sequencescore": "SequenceScore()",
}
MEMBERS = [name for name in vars(Task) if not name.startswith("_")]


def check_task(task: object) -> None:
    """Check that `task` is a task.

    Raises:
        ConfigError: it is not; the message has what was probably meant.
    """
    if isinstance(task, type):
        raise ConfigError(f"Pipeline.task must be a task, not its class: task={task.__name__}(...)")
    if isinstance(task, str):
        right = TASKS.get(task.lower().strip("()"), "Binary()")
        raise ConfigError(f"Pipeline.task must be a task, such as task={right}, got {shown(task)}")
    missing = [name for name in MEMBERS if not hasattr(task, name)]
    if missing:
        raise ConfigError(
            f"Pipeline.task must be {', '.join(TASKS.values())} or a class of yours with the same members; "
            f"{shown(task)} has no {', '.join(missing)}"
        )
    outputs = task.outputs  # type: ignore[attr-defined]
    if not isinstance(outputs, int) or isinstance(outputs, bool) or outputs < 1:
        raise ConfigError(f"Pipeline.task: outputs must be a whole number, at least 1, got {shown(outputs)}")
    if isinstance(task, Answering):
        _check_answers(task, outputs)


def _check_answers(task: Answering, outputs: int) -> None:
    """Check what a task says of an answer: names of its own, values that JSON has."""
    with users_code("Pipeline.task.answers"):
        made: Any = task.answers(torch.zeros(1, outputs))
        if not (isinstance(made, list) and len(made) == 1 and isinstance(made[0], dict)):
            raise ConfigError(f"Pipeline.task.answers must return a list, a dict for each answer, got {shown(made)}")
        msgspec.json.encode(made[0])
    if taken := sorted(set(made[0]) & set(Prediction.__struct_fields__)):
        raise ConfigError(
            f"Pipeline.task.answers must use names of its own: a prediction has {', '.join(taken)} already"
        )


def check_negative(task: Task, join: JoinPolicy) -> None:
    """Check that the task takes the label of a window that closes without an outcome, as it is.

    Raises:
        ConfigError: absence is a negative, and its label is none of the task's, or its target has several numbers.
    """
    if join.absent != "negative":
        return
    key = f"join.absent = 'negative' and join.negative_label = {join.negative_label:g}"
    try:
        target = task.target(join.negative_label)
    except MalformedEvent as wrong:
        raise ConfigError(f"{key}: {wrong}; set join.negative_label to a label of {shown(task)}") from None
    if target != join.negative_label:
        raise ConfigError(
            f"{key}: the target of {shown(task)} is {shown(target)}, more than a number; report each outcome"
        )


def tabular_of(features: type, task: Task) -> Tabular:
    """Return the usual encoder and network, for a pipeline that has none.

    Raises:
        ConfigError: no field of the features can be read by its type.
    """
    try:
        return Tabular(features, task.outputs)
    except ConfigError:
        raise ConfigError(
            f"Pipeline needs encode=... and model=...: it goes without them where a field of the features is a text, a "
            f"number, a bool or an Enum by its type, and none of {shown(features)} is"
        ) from None
