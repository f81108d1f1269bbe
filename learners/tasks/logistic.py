"""The log loss of yes or no, logit by logit, of whichever shape: what `Binary` has once, and `MultiLabel` K times.

Owns the formulas. Does not know what a logit is about.
"""

import math

import torch
from torch import Tensor
from torch.nn import functional as F

from learners.tasks.task import LOGIT_FLOOR


def log_loss(logit: Tensor, target: Tensor) -> Tensor:
    """Return −y log p − (1 − y) log(1 − p), p = σ(z), in nats; z is cut to ±9.21, so that no p is below 1e-4."""
    bounded = logit.clamp(-LOGIT_FLOOR, LOGIT_FLOOR)
    return F.binary_cross_entropy_with_logits(bounded, target.to(bounded), reduction="none")


def divergence(teacher: Tensor, student: Tensor, temperature: float) -> Tensor:
    """Return KL(teacher ‖ student) of the two chances at the temperature, in nats."""
    p, logit = torch.sigmoid(teacher / temperature), student / temperature
    entropy = -(torch.xlogy(p, p) + torch.xlogy(1 - p, 1 - p))
    return F.binary_cross_entropy_with_logits(logit, p, reduction="none") - entropy


def residual(logit: float, target: float) -> float:
    """Return y − p, the slope of the log loss with its sign changed."""
    z = logit if -30.0 < logit < 30.0 else max(-30.0, min(30.0, logit))
    return target - 1.0 / (1.0 + math.exp(-z))


def worst_gap(candidate: Tensor, champion: Tensor) -> Tensor:
    """Return the larger gap of those at y = 0 and y = 1, in nats; it is never negative."""
    ours, theirs = (t.clamp(-LOGIT_FLOOR, LOGIT_FLOOR) for t in (candidate, champion))
    at_one = F.softplus(-ours) - F.softplus(-theirs)
    at_zero = F.softplus(ours) - F.softplus(theirs)
    return torch.maximum(at_one, at_zero)
