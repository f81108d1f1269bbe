"""How well one model answered, by each metric of its task.

Does not know whose answers they are, or what a metric means.
"""

from torch import Tensor

from learners.tasks.metrics import Metric


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

    @property
    def loss(self) -> float:
        """Mean loss; NaN before the first answer."""
        return self.metrics[0].value

    @property
    def values(self) -> dict[str, float]:
        """The value of each metric, by its name."""
        return {metric.name: metric.value for metric in self.metrics}
