"""How teacher and shadow learn online."""

from dataclasses import dataclass

from compressors.arguments import named
from streams.errors import ConfigError

BETAS = 0.9, 0.999  # Adam's own, a batch
EPS = 1e-8  # Adam's own


@named(ConfigError)
@dataclass(frozen=True, kw_only=True)
class Online:
    """How teacher and shadow learn from each sample.

    `batch`: the samples of one step of the optimizer. They may come in parts of any size: the step is the same.
    `batch_s`: a batch ends early where the next sample's outcome is so many seconds, in event time, after its first
        one's. A step of n samples instead of N has the learning rate √(n / N), and moments and averages forget n / N.
    `learning_rate`, `weight_decay`: of AdamW (Loshchilov & Hutter, arXiv 1711.05101), constant over time.
    `clip`: the largest norm of the gradient; a larger one is scaled down to it.
    `half_life`: after so many samples a weight counts half in the average of the weights, of which candidates are made
        (Polyak & Juditsky 1992). While fewer were learned, all count, the newer more.
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
    32
    >>> Online(half_life=0)
    Traceback (most recent call last):
    ValueError: Online: learning_rate, clip, half_life and batch_s must be positive
    """

    batch: int = 32
    batch_s: float = 21_600.0
    learning_rate: float = 1e-3
    weight_decay: float = 0.01
    clip: float = 1.0
    half_life: float = 30_000.0
    intercept_rate: float = 0.01
    history_passes: int = 3
    history_batch: int = 256
    replay: int = 20_000
    refresh_every: int = 0
    refresh_share: float = 0.1

    def __post_init__(self) -> None:
        if self.batch < 1 or min(self.history_batch, self.replay) < 1 or self.history_passes < 0:
            raise ValueError("Online: batch, history_batch and replay must be at least 1, history_passes at least 0")
        if min(self.learning_rate, self.clip, self.half_life, self.batch_s) <= 0:
            raise ValueError("Online: learning_rate, clip, half_life and batch_s must be positive")
        if self.refresh_every < 0 or not 0 < self.refresh_share <= 1:
            raise ValueError(
                "Online: refresh_every is a number of samples, at least 0 (the masks stay), and refresh_share that of "
                f"the kept weights, above 0 and at most 1; got {self.refresh_every} and {self.refresh_share}"
            )
