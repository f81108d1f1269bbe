"""How teacher and shadow learn online."""

from dataclasses import dataclass

from compressors.arguments import named
from streams.errors import ConfigError


@named(ConfigError)
@dataclass(frozen=True, kw_only=True)
class Online:
    """How teacher and shadow learn from each sample.

    `batch`: the most samples of a micro-batch, which is one step of the optimizer.
    `learning_rate`, `weight_decay`: of AdamW (Loshchilov & Hutter, arXiv 1711.05101), constant over time.
    `clip`: the largest norm of the gradient; a larger one is scaled down to it.
    `average`: the share a of the old average in θ̄ ← a θ̄ + (1 − a) θ after each step. Candidates are made of the
        averaged weights θ̄ (Polyak & Juditsky 1992); 0.999 remembers about the last 1,000 steps.
    `intercept_rate`: how far the live intercept b moves at each outcome: b ← b − rate · ∂loss/∂output. That of a binary
        task remembers about the last 1 / (rate · p (1 − p)) outcomes.
    `history_passes`, `history_batch`: how many times the teacher is trained on the pipeline's history, and how many
        rows a step takes.
    `replay`: how many of the newest samples a candidate is distilled on.
    `refresh_every`, `refresh_share`: each time that another `refresh_every` samples are learned, this share of the
        weights that each pruned layer keeps is masked, and as many masked ones grow (RigL: Evci et al., arXiv
        1911.11134). 0: the masks stay as they are.

    Raises:
        ValueError: a number is out of its range.

    >>> Online(learning_rate=3e-4, replay=50_000).batch
    128
    >>> Online(average=1.0)
    Traceback (most recent call last):
    ValueError: Online: learning_rate and clip must be positive, average at least 0 and below 1
    """

    batch: int = 128
    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    clip: float = 1.0
    average: float = 0.999
    intercept_rate: float = 0.01
    history_passes: int = 3
    history_batch: int = 256
    replay: int = 20_000
    refresh_every: int = 0
    refresh_share: float = 0.1

    def __post_init__(self) -> None:
        if self.batch < 1 or min(self.history_batch, self.replay) < 1 or self.history_passes < 0:
            raise ValueError("Online: batch, history_batch and replay must be at least 1, history_passes at least 0")
        if self.learning_rate <= 0 or self.clip <= 0 or not 0 <= self.average < 1:
            raise ValueError("Online: learning_rate and clip must be positive, average at least 0 and below 1")
        if self.refresh_every < 0 or not 0 < self.refresh_share <= 1:
            raise ValueError(
                "Online: refresh_every is a number of samples, at least 0 (the masks stay), and refresh_share that of "
                f"the kept weights, above 0 and at most 1; got {self.refresh_every} and {self.refresh_share}"
            )
