"""What another system answered, as outputs of ours, so that both are measured by the same losses.

Owns how an answer in a client's words becomes the K numbers whose meaning it is. Does not know who answered.
"""

import math
from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

from compressors.arguments import shown
from learners.tasks.task import LOGIT_FLOOR, Task
from learners.tasks.vocabulary import Names, index_of, size
from streams.errors import MalformedEvent

LEAST = math.exp(-LOGIT_FLOOR)  # a chance below this counts as this, as in our own losses


@runtime_checkable
class Reading(Protocol):
    """A task that reads its answers as a client has them; of another one an answer is its K raw outputs."""

    def output_of(self, answer: Any) -> tuple[float, ...]:
        """Return the outputs, of length K, that mean this answer.

        Raises:
            MalformedEvent: it is no such answer; the message says what would be right.
        """
        ...


def output_of(task: Task, answer: Any) -> tuple[float, ...]:
    """Return the outputs, of length K, that mean an answer in a client's words.

    Raises:
        MalformedEvent: it is no answer of the task.

    >>> from shadowstream import Binary, Regression
    >>> output_of(Binary(), 0.5), output_of(Regression(), 12)
    ((0.0,), (12.0,))
    """
    if isinstance(task, Reading):
        return task.output_of(answer)
    row = tuple(answer) if isinstance(answer, list | tuple) else (answer,)
    if len(row) != task.outputs or not all(map(is_number, row)):
        raise MalformedEvent(
            f"an answer to {type(task).__name__} is its {task.outputs} raw outputs, a list, got {shown(answer)}"
        )
    return tuple(map(float, row))


def is_number(value: Any) -> bool:
    """Return whether this is a finite number."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def logit(chance: Any) -> float:
    """Return log p − log(1 − p), p cut to what a logit of ±9.21 means.

    Raises:
        MalformedEvent: this is no probability.
    """
    if not is_number(chance) or not 0 <= chance <= 1:
        raise MalformedEvent(f"an answer is a probability, from 0 to 1, got {shown(chance)}")
    p = min(max(float(chance), LEAST), 1 - LEAST)
    return math.log(p) - math.log1p(-p)


def chances(answer: Any, names: Names) -> Sequence[Any]:
    """Return what an answer says of each of K classes: a list of K, or by name, where classes not named have 0.

    Raises:
        MalformedEvent: it is neither, or a name is unknown.
    """
    if isinstance(answer, dict):
        row = [0.0] * size(names)
        for name, chance in answer.items():
            row[index_of(name, names, "class")] = chance
        return row
    if isinstance(answer, list | tuple) and len(answer) == size(names):
        return answer
    raise MalformedEvent(
        f"an answer is {size(names)} probabilities: a list in the order of the classes, or by their names; "
        f"got {shown(answer)}"
    )
