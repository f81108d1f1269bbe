"""How well one model answered, by each metric of its task.

Does not know whose answers they are, or what a metric means.
"""

from collections.abc import Sequence

from msgspec import Struct
from torch import Tensor

from learners.packing import pack, unpack
from learners.resumed import Resumed
from learners.tasks.metrics import Closes, Metric
from streams.errors import NotResumable


class ScoresState(Struct):
    """How many answers were counted, and the state of each metric, packed."""

    count: int
    metrics: list[bytes]


class Scores:
    """One model's metrics over `count` answers, the mean loss first. The scores of two parts add up."""

    def __init__(self, metrics: tuple[Metric, ...], count: int = 0) -> None:
        self.metrics, self.count = metrics, count

    def add(self, outputs: Tensor, labels: Tensor) -> None:
        """Count answers of shape (N, K) against labels (N,)."""
        self.count += len(labels)
        for metric in self.metrics:
            metric.add(outputs, labels)

    def __add__(self, other: "Scores") -> "Scores":
        both = tuple(ours + theirs for ours, theirs in zip(self.metrics, other.metrics, strict=True))
        return Scores(both, self.count + other.count)

    def close(self) -> None:
        """Keep the values, and little besides: no more answers are expected."""
        for metric in self.metrics:
            if isinstance(metric, Closes):
                metric.close()

    def state(self) -> ScoresState:
        """Return what was counted.

        Raises:
            NotResumable: a metric cannot say what it holds.
        """
        return ScoresState(self.count, [pack(_resumed(metric).state()) for metric in self.metrics])

    @classmethod
    def of(cls, metrics: Sequence[Metric], state: ScoresState) -> "Scores":
        """Return scores that go on from a state; `metrics` are those of the task, anew."""
        for metric, told in zip(metrics, state.metrics, strict=True):
            one = _resumed(metric)
            one.restore(unpack(told, one.State))
        return cls(tuple(metrics), state.count)

    @property
    def loss(self) -> float:
        """Mean loss; NaN before the first answer."""
        return self.metrics[0].value

    @property
    def values(self) -> dict[str, float]:
        """The value of each metric, by its name."""
        return {metric.name: metric.value for metric in self.metrics}


def _resumed(metric: Metric) -> Resumed:
    if not isinstance(metric, Resumed):
        raise NotResumable(f"the metric {metric.name!r} is no learners.resumed.Resumed, and cannot say what it holds")
    return metric
