"""How teacher and shadow learn online."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Online:
    """How both models follow the samples. `batch` bounds a micro-batch; `clip` bounds the gradient's norm.

    `replay`: how many of the newest samples a candidate is distilled on. Each time that another `refresh_every` samples
    are learned, the shadow's masks are refreshed: the share `refresh_share` of the weights that each layer keeps gives
    way to masked ones (RigL). 0: the masks stay as they are.
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
