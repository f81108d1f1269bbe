"""The tokens that follow a text: at each of some places a chance for each token."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from compressors.arguments import COUNT, named, shown
from learners.tasks.metrics import Mean, MeanExp, Metric
from learners.tasks.task import rounded
from learners.tasks.vocabulary import Names, index_of, name_of, names_of, size
from streams.errors import ConfigError, MalformedEvent
from streams.events import Label, Target

PADDING = -1.0  # in a target: a place beyond the end of what followed
EVEN = 1e-3  # the share of the chance that all tokens have alike: the log loss of a token is at most log(V / EVEN)
MOST_OUTPUTS = 16_384  # a prediction carries each twice, about 20 bytes: more is no Kafka record of 1 MiB


@named(ConfigError, ranges={"places": COUNT})
@dataclass(frozen=True)
class NextToken:
    """The tokens that follow what the request has: at each of `places` places V logits z, the chances being softmax(z).

    `tokens` is V, or the V tokens' texts in the order of the logits; the model's outputs are places x V, place by
    place. A label is what really followed: a list of tokens, their numbers or texts; a single one; or a text, of which
    `tokenize` makes their numbers (`str.encode` where tokens are bytes). What is beyond the last place is not learned,
    nor are places beyond its end.

    The loss is the mean over the places that have a token of −log((1 − ε) p + ε / V), in nats, with ε a thousandth:
    no surprise costs more than log(V / ε).

    >>> import torch
    >>> task = NextToken(256, places=2, tokenize=str.encode)
    >>> task.target("ok, and then")
    (111.0, 107.0)
    >>> task.target("k")
    (107.0, -1.0)
    >>> task.losses(torch.zeros(1, 512), torch.tensor([[107.0, -1.0]]))
    tensor([5.5452])
    >>> NextToken(("he", "she")).target("it")
    Traceback (most recent call last):
    streams.errors.MalformedEvent: no token is called 'it'; there are he, she
    """

    tokens: Names
    places: int = 1
    tokenize: Callable[[str], Sequence[int]] | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "tokens", names_of(self.tokens, "NextToken.tokens", least=2))
        if self.outputs > MOST_OUTPUTS:
            raise ConfigError(
                f"NextToken: {size(self.tokens):,} tokens at {self.places:,} places are {self.outputs:,} outputs, "
                f"which each prediction carries; at most {MOST_OUTPUTS:,} fit: take fewer tokens, or fewer places"
            )
        if self.tokenize is not None and not callable(self.tokenize):
            raise ConfigError(
                f"NextToken.tokenize must be a function of a text, such as str.encode, got {shown(self.tokenize)}"
            )

    @property
    def outputs(self) -> int:
        """V logits for each place."""
        return self.places * size(self.tokens)

    def target(self, label: Label) -> Target:
        """Return the number of the token at each place, −1 beyond the end; of one place a number.

        Raises:
            MalformedEvent: nothing followed, or what did is no token.
        """
        followed = self._followed(label)
        if not followed:
            raise MalformedEvent(f"a label is the tokens that followed, at least one, got {shown(label)}")
        known = [float(index_of(token, self.tokens, "token")) for token in followed[: self.places]]
        return known[0] if self.places == 1 else (*known, *(PADDING,) * (self.places - len(known)))

    def _followed(self, label: Label) -> list[Any]:
        if isinstance(label, str) and self.tokenize is not None:
            return list(self.tokenize(label))
        if not isinstance(label, list | tuple):
            return [label]
        followed = list(label)
        while len(label) == self.places and followed and followed[-1] == PADDING:  # a target
            followed.pop()
        return followed

    def answers(self, served: Tensor) -> list[dict[str, Any]]:
        """Return {"tokens": the likeliest at each place, "probabilities": theirs} for each row (N, places V).

        >>> import torch
        >>> NextToken(("he", "she"), places=2).answers(torch.tensor([[0.0, 2.0, 1.0, 0.0]]))
        [{'tokens': ['she', 'he'], 'probabilities': [0.880797, 0.731059]}]
        """
        chances, chosen = F.softmax(self._at_places(served.double()), dim=2).max(2)
        named_ = [[name_of(k, self.tokens) for k in row] for row in chosen.tolist()]
        rows = zip(named_, rounded(chances).tolist(), strict=True)
        return [{"tokens": some, "probabilities": row} for some, row in rows]

    def metrics(self) -> tuple[Metric, ...]:
        """Return the token loss (nats), the perplexity, and the share of tokens that were the likeliest.

        The loss counts all labels alike, the others all tokens.
        """
        loss = Mean("token loss", "nats", self.losses)
        return loss, MeanExp("perplexity", "", self.losses, _length), Mean("top-1", "", self._right, _length)

    def _right(self, output: Tensor, target: Tensor) -> Tensor:
        return _mean((self._at_places(output).argmax(2) == _rows(target)).to(output), target)

    def _at_places(self, output: Tensor) -> Tensor:
        """Return the logits (N, places, V)."""
        return output.view(len(output), self.places, -1)

    def _log_p(self, output: Tensor) -> Tensor:
        """Return log((1 − ε) p + ε / V) of all tokens (N, places, V)."""
        log_p = F.log_softmax(self._at_places(output), dim=2) + math.log1p(-EVEN)
        return torch.logaddexp(log_p, torch.full_like(log_p, math.log(EVEN / size(self.tokens))))

    def losses(self, output: Tensor, target: Tensor) -> Tensor:
        """Return the mean loss of the tokens that followed (N,): outputs (N, places V), targets (N, places) or (N,)."""
        chosen = _rows(target).long().clamp(min=0)[:, :, None]
        return _mean(-self._log_p(output).gather(2, chosen)[:, :, 0], target)

    def soft_losses(self, teacher: Tensor, student: Tensor, temperature: float) -> Tensor:
        """Return the places' mean KL(teacher ‖ student) of softmaxes at the temperature, in nats: to (N,)."""
        ours, theirs = (F.log_softmax(self._at_places(z) / temperature, dim=2) for z in (student, teacher))
        return F.kl_div(ours, theirs, log_target=True, reduction="none").sum(2).mean(1)

    def residual(self, served: Sequence[float], target: Any) -> tuple[float, ...]:
        """Return minus the slope of the loss of one answer, length places x V."""
        p = F.softmax(self._at_places(torch.tensor([served], dtype=torch.float64))[0], dim=1)
        at = torch.tensor(target).flatten()
        chosen, known = at.long().clamp(min=0)[:, None], (at > PADDING).double()[:, None]
        likely = (1 - EVEN) * p.gather(1, chosen)
        share = likely / (likely + EVEN / size(self.tokens)) * known / known.sum()
        slope = share * (torch.zeros_like(p).scatter_(1, chosen, 1.0) - p)
        return tuple(slope.flatten().tolist())

    def worst_gap(self, candidate: Tensor, champion: Tensor) -> Tensor:
        """Return the largest gap over all labels of any length, at least 0, in nats: to (N,)."""
        gaps = (self._log_p(champion) - self._log_p(candidate)).amax(2)
        return (gaps.cumsum(1) / torch.arange(1, self.places + 1)).amax(1).clamp(min=0)


def _rows(target: Tensor) -> Tensor:
    """Return targets (N, places) of those, or of (N,) where there is one place."""
    return target.reshape(len(target), -1)


def _length(_: Tensor, target: Tensor) -> Tensor:
    """Return how many tokens each row has (N,)."""
    return (_rows(target) > PADDING).sum(1).double()


def _mean(values: Tensor, target: Tensor) -> Tensor:
    """Return each row's mean (N,) over the places that have a token."""
    known = _rows(target) > PADDING
    return (values * known).sum(1) / known.sum(1)
