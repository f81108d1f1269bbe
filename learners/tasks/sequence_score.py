"""Scores of whole sequences that were generated and shown: likely ones become those that were scored well."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import msgspec
import torch
from msgspec import Struct
from torch import Tensor

from compressors.arguments import MOST, Range, named, shown
from learners.tasks.metrics import Mean, Metric
from learners.tasks.task import rounded
from streams.errors import ConfigError, MalformedEvent
from streams.events import Label, Sample

UNSCORED = -1.0  # in a target: a sequence that was not there, or that nobody scored
AS_SERVED = 1.0  # a log-likelihood that what was served tells; a real one is at most 0


class Scored(Struct, kw_only=True):
    """The scores, and how likely the sequences were where they were drawn."""

    score: float | list[float | None]
    log_likelihood: float | list[float] | None = None


@named(ConfigError, ranges={"sequences": Range(1, MOST), "reach": Range(0, open=True)})
@dataclass(frozen=True)
class SequenceScore:
    """Scores of up to `sequences` whole sequences that a request has: K outputs z, the log-likelihood of each in nats.

    A request has the prompt and the sequences that were generated and shown, so the model reads them at once. A label
    is the score of the only one, or the list of the scores, null for what nobody scored: a preference is [1, 0]. Each
    score is from the least to the most of `scores`. Where the sequences were drawn from another model, {"score": …,
    "log_likelihood": …} says how likely they were there; else that is what was served. Rows of history need it.

    The loss is the mean over the scored sequences of −A c tanh((z − z₀) / c). z₀ is the log-likelihood where they were
    drawn, and A the score as a share of the range less the mean of its list (GRPO: Shao et al., arXiv 2402.03300), or,
    where there is only one, less the `baseline`, by default the middle of the range. At z₀ its slope is that of the
    policy gradient (Williams 1992); it fades beyond `reach` c: no score moves a likelihood much farther than by e^c.

    >>> import torch
    >>> task = SequenceScore(2)
    >>> target = task.target({"score": [1, 0], "log_likelihood": [-5.0, -7.0]})
    >>> target
    (1.0, 0.0, -5.0, -7.0)
    >>> task.losses(torch.tensor([[-5.0, -7.0], [-4.0, -8.0]]), torch.tensor([target, target]))
    tensor([-0.0000, -0.4621])
    >>> task.target([1, 2])
    Traceback (most recent call last):
    streams.errors.MalformedEvent: a score is a number from 0 to 1, got 2.0
    """

    sequences: int = 1
    scores: tuple[float, float] = (0.0, 1.0)
    baseline: float | None = None
    reach: float = 2.0

    def __post_init__(self) -> None:
        ends = tuple(self.scores) if isinstance(self.scores, Sequence) else ()
        if not (len(ends) == 2 and all(map(_finite, ends)) and ends[0] < ends[1]):
            right = "the least and the most score, such as (0, 1)"
            raise ConfigError(f"SequenceScore.scores must be {right}, got {shown(self.scores)}")
        if self.baseline is not None and not ends[0] <= self.baseline <= ends[1]:
            right = f"a score, from {ends[0]:g} to {ends[1]:g}"
            raise ConfigError(f"SequenceScore.baseline must be {right}, got {self.baseline:g}")
        object.__setattr__(self, "scores", tuple(map(float, ends)))

    @property
    def outputs(self) -> int:
        """K, a log-likelihood for each sequence."""
        return self.sequences

    def target(self, label: Label) -> tuple[float, ...]:
        """Return K scores as shares of their range, −1 for none, and K log-likelihoods, 1 until `complete`.

        Raises:
            MalformedEvent: no sequence is scored, or a number is out of range.
        """
        if isinstance(label, list | tuple) and len(label) == 2 * self.sequences:
            return self._whole(label)
        try:
            said = msgspec.convert(label if isinstance(label, dict) else {"score": label}, Scored)
        except msgspec.ValidationError as wrong:
            raise MalformedEvent(f"a label is a score or a list of them, got {shown(label)}: {wrong}") from None
        shares = [UNSCORED if one is None else self._share(one) for one in _listed(said.score)]
        drawn = [AS_SERVED] * len(shares) if said.log_likelihood is None else _listed(said.log_likelihood)
        if len(shares) > self.sequences or len(drawn) != len(shares):
            raise MalformedEvent(
                f"a label has at most {self.sequences} scores, and as many log-likelihoods, got {shown(label)}"
            )
        missing = self.sequences - len(shares)
        return self._whole([*shares, *[UNSCORED] * missing, *drawn, *[AS_SERVED] * missing])

    def complete(self, sample: Sample) -> tuple[float, ...]:
        """Return the whole target: a log-likelihood that the label does not tell is that which was served."""
        target = cast(tuple[float, ...], sample.label)
        drawn = [
            min(0.0, ours) if told == AS_SERVED else told
            for told, ours in zip(target[self.sequences :], sample.prediction.served, strict=True)
        ]
        return self._whole([*target[: self.sequences], *drawn])

    def _share(self, score: float) -> float:
        least, most = self.scores
        if not least <= score <= most:
            raise MalformedEvent(f"a score is a number from {least:g} to {most:g}, got {shown(score)}")
        return (score - least) / (most - least)

    def _whole(self, row: Sequence[Any]) -> tuple[float, ...]:
        """Return a whole target."""
        shares, drawn = row[: self.sequences], row[self.sequences :]
        if not all(_finite(one) and (0 <= one <= 1 or one == UNSCORED) for one in shares):
            raise MalformedEvent(f"a target's scores are shares, from 0 to 1, or −1 for none, got {shown(row)}")
        if not all(_finite(one) and (one <= 0 or one == AS_SERVED) for one in drawn):
            raise MalformedEvent(f"a log-likelihood is a number of at most 0, got {shown(row)}")
        if all(one == UNSCORED for one in shares):
            raise MalformedEvent("a label has at least one score; where there is none, it is no outcome")
        return tuple(map(float, row))

    def answers(self, served: Tensor) -> list[dict[str, Any]]:
        """Return {"best": the likeliest sequence's place, "log_likelihoods": of all K} for each row (N, K).

        >>> import torch
        >>> SequenceScore(2).answers(torch.tensor([[-7.0, -5.5]]))
        [{'best': 1, 'log_likelihoods': [-7.0, -5.5]}]
        """
        rows = zip(served.argmax(1).tolist(), rounded(served).tolist(), strict=True)
        return [{"best": best, "log_likelihoods": row} for best, row in rows]

    def metrics(self) -> tuple[Metric, ...]:
        """Return the loss (shares of the range, times nats), and the mean score, self-normalized.

        That is what these sequences would have scored, had the model drawn them: Σ w r / Σ w with w the ratio of the
        likelihoods, at most e^c (Swaminathan & Joachims 2015).
        """
        return Mean("sequence loss", "range·nats", self.losses), Mean(
            "score, self-normalized", "score", self._score, lambda z, y: self._ratios(z, y).sum(1)
        )

    def _ratios(self, output: Tensor, target: Tensor) -> Tensor:
        """Return how much likelier than drawn each sequence is (N, K), from e^−c to e^c; 0 where it has no score."""
        share, drawn = self._split(target)
        return (output - drawn).clamp(-self.reach, self.reach).exp() * (share > UNSCORED)

    def _score(self, output: Tensor, target: Tensor) -> Tensor:
        """Return each row's mean score (N,) by these."""
        least, most = self.scores
        share, ratios = target[:, : self.sequences], self._ratios(output, target)
        return least + (most - least) * (ratios * share).sum(1) / ratios.sum(1)

    def _split(self, target: Tensor) -> tuple[Tensor, Tensor]:
        """Return the scores as shares, and where the sequences were drawn, (N, K) each."""
        return target[:, : self.sequences], target[:, self.sequences :].clamp(max=0)

    @property
    def _usual(self) -> float:
        """The baseline in use, as a share."""
        return 0.5 if self.baseline is None else self._share(self.baseline)

    def losses(self, output: Tensor, target: Tensor) -> Tensor:
        """Return the loss (N,) of log-likelihoods (N, K) against targets (N, 2 K)."""
        share, drawn = self._split(target.to(output))
        scored = share > UNSCORED
        count = scored.sum(1, keepdim=True)
        mean = torch.where(count > 1, (share * scored).sum(1, keepdim=True) / count, self._usual)
        moved = self.reach * torch.tanh((output - drawn) / self.reach)
        return -((share - mean) * moved * scored).sum(1) / count[:, 0]

    def soft_losses(self, teacher: Tensor, student: Tensor, temperature: float) -> Tensor:
        """Return half the mean squared distance in units of `reach`, (N, K) twice to (N,); no temperature matters."""
        return 0.5 * (((teacher - student) / self.reach) ** 2).mean(1)

    def residual(self, served: Sequence[float], target: Sequence[float]) -> tuple[float, ...]:
        """Return zeros: a log-likelihood has no intercept."""
        return (0.0,) * self.sequences

    def worst_gap(self, candidate: Tensor, champion: Tensor) -> Tensor:
        """Return a bound of the gap: (N, K) twice to (N,).

        Wherever z₀ is, the two tanh differ by at most 2 tanh(|Δz| / 2c). |A| is at most max(b, 1 − b) with a baseline
        b, and ½ on the mean of a list, which is no more.
        """
        apart = 2 * self.reach * torch.tanh((candidate - champion).abs() / (2 * self.reach))
        return max(self._usual, 1 - self._usual) * apart.amax(1)


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list) else [value]


def _finite(value: Any) -> bool:
    return isinstance(value, float | int) and math.isfinite(value)
