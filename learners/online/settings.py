"""How teacher and shadow learn online."""

from dataclasses import dataclass

from compressors.arguments import COUNT, WHOLE, Range, named
from learners.online.private import Private
from streams.errors import ConfigError

BETAS = 0.9, 0.999  # Adam's own, a batch
EPS = 1e-8  # Adam's own


CENTURY_S = 100 * 366 * 86_400
POSITIVE = Range(0, open=True)
RANGES = {
    **dict.fromkeys(("batch", "history_batch", "replay"), COUNT),
    **dict.fromkeys(("history_passes", "refresh_every"), WHOLE),
    **dict.fromkeys(("clip", "half_life"), POSITIVE),
    **dict.fromkeys(("weight_decay", "intercept_rate"), Range(0)),
    "batch_s": Range(0, CENTURY_S, open=True),
    "learning_rate": Range(0, 1, open=True),
}


@named(ConfigError, ranges=RANGES)
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
    `private`: adds noise to each step, so that the weights do not tell what any one sample was.

    Raises:
        ConfigError: a number is out of its range, or something else would tell what a private learner hides.

    >>> Online(learning_rate=3e-4, replay=50_000).batch
    32
    >>> Online(half_life=0)
    Traceback (most recent call last):
    streams.errors.ConfigError: Online.half_life must be above 0, got 0
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
    private: Private | None = None

    def __post_init__(self) -> None:
        if not 0 < self.refresh_share <= 1:
            raise ConfigError(f"Online.refresh_share must be above 0 and at most 1, got {self.refresh_share}")
        if self.private and self.intercept_rate:
            raise ConfigError(
                f"Online.private and intercept_rate={self.intercept_rate:g}: the live intercept moves by each outcome; "
                "set intercept_rate=0"
            )
        if self.private and self.refresh_every:
            raise ConfigError(
                f"Online.private and refresh_every={self.refresh_every}: masks are refreshed by slopes without noise; "
                "leave refresh_every at 0"
            )
