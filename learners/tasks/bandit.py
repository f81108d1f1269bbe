"""One of K actions, where only the reward of the one that was taken is heard: off-policy learning by propensities."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional as F

from compressors.arguments import Range, named, shown
from learners.tasks.feedback import AS_SERVED, UNKNOWN, Feedback, propensity_of
from learners.tasks.metrics import Mean, Metric
from learners.tasks.task import rounded
from learners.tasks.vocabulary import index_of, name_of, size
from streams.errors import ConfigError, MalformedEvent
from streams.events import Label, Sample

_chance = torch.Generator()  # of the actions that are drawn: torch's own stays as it was
_chance.seed()


@named(ConfigError, ranges={"clip": Range(1), "explore": Range(0, 1)})
@dataclass(frozen=True)
class Bandit(Feedback):
    """One of K actions: the policy draws one with chances π = (1 − ε) softmax(z) + ε / K, and hears its reward alone.

    `actions` is K, or the K names, in the order of the logits z; ε is `explore`. A prediction carries an `action`,
    drawn so, and all `probabilities`. The client reports what it did, {"action": 2, "reward": 1.0}, with the
    "propensity" p of that where it was not drawn from the `probabilities`. Where another system acts, and has `logged`
    it when it asks, the request's fields `action` and `propensity` tell, and a label is the reward.

    The loss is minus the reward r that π would have brought, as a share of the range of `rewards`: −w (r − b) π(a) with
    w = min(1 / p, `clip`), the clipped inverse propensity (Ionides 2008), and b the `baseline`, by default the middle
    of the range. With b at the usual reward it is that of the self-normalized estimate (BanditNet: Joachims,
    Swaminathan & de Rijke, ICLR 2018). With `doubly_robust` the model has K more outputs, which estimate the reward of
    each action, as a share of the range. Those q that were served take the place of b: −Σ π q − w (r − q[a]) π(a)
    (Dudík, Langford & Li, arXiv 1103.4601). Half the squared error of the estimate for a is added. What was served is
    older than the reward: it biases nothing.

    >>> import torch
    >>> task = Bandit(("red", "blue"), explore=0.0)
    >>> target = task.target({"action": "blue", "reward": 1.0, "propensity": 0.25})
    >>> target
    (1.0, 1.0, 0.25)
    >>> task.losses(torch.zeros(1, 2), torch.tensor([target]))
    tensor([-1.])
    >>> task.residual([0.0, 0.0], target)
    (-0.5, 0.5)
    >>> task.target({"action": "bleu", "reward": 1.0})
    Traceback (most recent call last):
    streams.errors.MalformedEvent: no action is called 'bleu'; did you mean 'blue'?
    """

    doubly_robust: bool = False
    baseline: float | None = None
    clip: float = 10.0
    explore: float = 0.05

    def __post_init__(self) -> None:
        super().__post_init__()
        least, most = self.rewards
        if not least <= self._usual <= most:
            raise ConfigError(f"Bandit.baseline must be a reward, from {least:g} to {most:g}, got {self._usual:g}")

    @property
    def _usual(self) -> float:
        """The baseline in use."""
        return sum(self.rewards) / 2 if self.baseline is None else float(self.baseline)

    @property
    def count(self) -> int:
        """K, the number of actions."""
        return size(self.actions)

    @property
    def outputs(self) -> int:
        """K logits; with `doubly_robust` K estimates as well."""
        return size(self.actions) * (2 if self.doubly_robust else 1)

    def target(self, label: Label) -> tuple[float, ...]:
        """Return reward, action and propensity, and with `doubly_robust` K estimates: until `complete`, the baseline.

        Raises:
            MalformedEvent: the label is not what was done and brought, or a number is out of range.
        """
        if isinstance(label, list | tuple):
            return self._whole(label)
        return *self.heard(label), *(self._usual,) * (self.outputs - size(self.actions))

    def complete(self, sample: Sample) -> tuple[float, ...]:
        """Return the whole target, with what only the request tells, and what was served.

        Raises:
            MalformedEvent: the request does not tell what was done, or a number is out of range.
        """
        reward, action, propensity, *estimates = cast(tuple[float, ...], sample.label)
        if action == UNKNOWN:
            action, propensity = self.done(bytes(sample.prediction.features))
        served = torch.tensor([sample.prediction.served], dtype=torch.float64)
        if propensity == AS_SERVED:
            propensity = float(self.policy(served)[0, int(action)])
        if self.doubly_robust:
            least, most = self.rewards
            estimates = [least + (most - least) * q for q in self._split(served)[1][0].clamp(0, 1).tolist()]
        return self._whole((reward, action, propensity, *estimates))

    def _whole(self, row: Sequence[Any]) -> tuple[float, ...]:
        """Return a whole target."""
        if len(row) != 3 + self.outputs - size(self.actions):
            more = ", and an estimate for each action" if self.doubly_robust else ""
            raise MalformedEvent(f"a target is reward, action and propensity{more}, got {shown(row)}")
        reward, action, propensity, *estimates = row
        taken = float(index_of(action, self.actions, "action")), propensity_of(propensity)
        return self.reward(reward), *taken, *map(self.reward, estimates)

    def _split(self, output: Tensor) -> tuple[Tensor, Tensor]:
        """Return the logits (N, K), and the estimates, (N, K) or (N, 0)."""
        return output[:, : size(self.actions)], output[:, size(self.actions) :]

    def policy(self, output: Tensor) -> Tensor:
        """Return π (N, K), with which chance each action is drawn."""
        logits, _ = self._split(output)
        return (1 - self.explore) * F.softmax(logits, dim=1) + self.explore / logits.shape[1]

    def answers(self, served: Tensor) -> list[dict[str, Any]]:
        """Return {"action": one that was drawn, "probabilities": of all K} for each row of outputs."""
        policy = self.policy(served.double())
        drawn = [name_of(k, self.actions) for k in torch.multinomial(policy, 1, generator=_chance)[:, 0].tolist()]
        return [{"action": k, "probabilities": row} for k, row in zip(drawn, rounded(policy).tolist(), strict=True)]

    def metrics(self) -> tuple[Metric, ...]:
        """Return the loss (shares of the range of rewards), and what π would have brought a time, self-normalized.

        That is Σ w π(a) r / Σ w π(a) (Swaminathan & Joachims 2015), in the reward's unit.
        """
        brought = Mean("reward, self-normalized", "reward", lambda _, target: target[:, 0], self._weights)
        return Mean("policy loss", "range", self.losses), brought

    def _weights(self, output: Tensor, target: Tensor) -> Tensor:
        """Return w π(a) (N,)."""
        action = target[:, 1:2].long()
        return (1 / target[:, 2]).clamp(max=self.clip) * self.policy(output).gather(1, action)[:, 0]

    def _share(self, reward: Tensor) -> Tensor:
        """Return rewards as shares of their range."""
        least, most = self.rewards
        return (reward - least) / (most - least)

    def _credit(self, target: Tensor) -> tuple[Tensor, Tensor]:
        """Return what each action is credited with (N, K), and the reward r (N,), as shares.

        The action taken has w (r − b), all others 0; with `doubly_robust` q + w (r − q), and all others q.
        """
        reward, action = self._share(target[:, 0]), target[:, 1].long()
        taken = F.one_hot(action, size(self.actions)).to(target)
        known = self._share(target[:, 3:] if self.doubly_robust else torch.full_like(taken, self._usual))
        weight = (1 / target[:, 2]).clamp(max=self.clip)
        surprise = taken * (weight[:, None] * (reward[:, None] - known))
        return known * self.doubly_robust + surprise, reward

    def losses(self, output: Tensor, target: Tensor) -> Tensor:
        """Return minus the estimate of the policy's reward (N,), and with `doubly_robust` half the estimates' error².

        Outputs are (N, outputs), targets (N, 3) or (N, 3 + K).
        """
        credit, reward = self._credit(target.to(output))
        loss = -(self.policy(output) * credit).sum(1)
        if not self.doubly_robust:
            return loss
        _, estimates = self._split(output)
        return loss + 0.5 * (reward - estimates.gather(1, target[:, 1:2].long())[:, 0]) ** 2

    def soft_losses(self, teacher: Tensor, student: Tensor, temperature: float) -> Tensor:
        """Return KL(teacher ‖ student) of the softmaxes at the temperature, plus half the estimates' distance²."""
        (logits, estimates), (ours, own) = self._split(teacher), self._split(student)
        theirs = F.log_softmax(logits / temperature, dim=1)
        distance = F.kl_div(F.log_softmax(ours / temperature, dim=1), theirs, log_target=True, reduction="none").sum(1)
        return distance + 0.5 * ((estimates - own) ** 2).sum(1)

    def residual(self, served: Sequence[float], target: Sequence[float]) -> tuple[float, ...]:
        """Return minus the slope of the loss of one answer."""
        output = torch.tensor([served], dtype=torch.float64, requires_grad=True)
        with torch.enable_grad():
            loss = self.losses(output, torch.tensor([target], dtype=torch.float64)).sum()
            (slope,) = torch.autograd.grad(loss, output)
        return tuple((-slope[0]).tolist())

    def worst_gap(self, candidate: Tensor, champion: Tensor) -> Tensor:
        """Return a bound of the gap, at least 0: (N, outputs) twice to (N,).

        As shares, r and q are in [0, 1], and w is at most `clip`. So a difference Δ of an action's chances makes at
        most clip max(b Δ, (b − 1) Δ); with `doubly_robust` clip |Δ|, and ½ Σ |Δ| for all q. The difference of two
        squared errors is linear in r: it is largest at either end.
        """
        (_, ours), (_, theirs) = self._split(candidate), self._split(champion)
        more = self.policy(candidate) - self.policy(champion)
        if not self.doubly_robust:
            b = self._share(torch.tensor(self._usual, dtype=torch.float64))
            return self.clip * torch.maximum(b * more, (b - 1) * more).amax(1)
        errors = torch.stack([(end - ours) ** 2 - (end - theirs) ** 2 for end in (0.0, 1.0)]).amax((0, 2))
        return more.abs().sum(1) / 2 + self.clip * more.abs().amax(1) + 0.5 * errors.clamp(min=0)
