"""Private updates: each sample's slope is cut to a norm, and noise is added to their sum (Abadi et al., CCS 2016).

Owns slopes sample by sample, and the noise. Does not know optimizers, or what this promises (`private.py`).
"""

import hashlib
import math
import struct
from collections.abc import Iterable, Mapping

import numpy as np
import torch
from torch import Tensor, nn

from streams.errors import ConfigError

LAZY = (nn.LazyBatchNorm1d, nn.LazyBatchNorm2d, nn.LazyBatchNorm3d)
MIXING = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm, *LAZY)


def add_clipped(
    model: nn.Module, slopes: Mapping[str, nn.Parameter], rows: Iterable[tuple[Tensor, Tensor]], clip: float, of: int
) -> tuple[Tensor, Tensor]:
    """Add to each parameter's slope the samples' own, cut to the norm `clip` and divided by `of`.

    `rows` yields a pair for each sample: its answer (1, K), and its loss. Return the answers (N, K) and losses (N,).

    Samples run one by one: torch.func does not differentiate the rounding of quantized layers.

    Raises:
        ConfigError: a forward changes a buffer of the model: what it holds would not be private.
    """
    before, sums = _buffers(model), {name: p.grad for name, p in slopes.items()}
    answers, losses = list[Tensor](), list[Tensor]()
    for parameter in slopes.values():
        parameter.grad = None
    for output, loss in rows:
        loss.backward()  # type: ignore[no-untyped-call]
        own = {name: _dense(p.grad) for name, p in slopes.items() if p.grad is not None}
        norm = math.sqrt(sum(float(slope.double().square().sum()) for slope in own.values()))
        share = min(1.0, clip / norm) / of if norm > 0 else 0.0
        if not math.isfinite(norm):
            share = math.nan  # the caller sees it in the sum
        for name, slope in own.items():
            now = sums[name]
            sums[name] = slope * share if now is None else now.add_(slope, alpha=share)
            slopes[name].grad = None
        answers.append(output.detach())
        losses.append(loss.detach())
    for name, parameter in slopes.items():
        parameter.grad = sums[name]
    if changed := sorted(name for name, seen in _buffers(model).items() if before.get(name) != seen):
        raise ConfigError(
            f"Online.private: the model's forward changes {changed[0]}, which would tell what samples were; take "
            "that layer out (of a recipe: static inputs)"
        )
    return torch.cat(answers), torch.stack(losses)


def _dense(slope: Tensor) -> Tensor:
    return slope.to_dense() if slope.is_sparse else slope


def _buffers(model: nn.Module) -> dict[str, tuple[int, int]]:
    return {name: (id(buffer), buffer._version) for name, buffer in model.named_buffers()}


def add_noise(slopes: Mapping[str, nn.Parameter], deviation: float, secret: bytes, clock: float) -> None:
    """Add Gaussian noise of this standard deviation to every number of the slopes; one that is missing is zero.

    It is drawn by Philox with a key that SHA-256 makes of the secret, the time and the slopes: the same slopes get the
    same noise, so that a rebuild makes the same bits. Others, as of a rebuild without a sample, get noise of their own:
    the difference of the two tells no more than either.
    """
    digest = hashlib.sha256(secret + struct.pack("<d", clock))
    for parameter in slopes.values():
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
        digest.update(parameter.grad.contiguous().numpy().tobytes())
    chance = np.random.Generator(np.random.Philox(key=int.from_bytes(digest.digest()[:16])))
    for parameter in slopes.values():
        noise = torch.from_numpy(chance.standard_normal(tuple(parameter.shape)))
        parameter.grad = parameter.grad + (deviation * noise).to(parameter)  # type: ignore[operator]


def check_rows_alone(model: nn.Module) -> None:
    """Check that no layer of a model mixes the samples of a batch.

    Raises:
        ConfigError: one does; the message names it.
    """
    for name, layer in model.named_modules():
        if isinstance(layer, MIXING):
            raise ConfigError(
                f"Online.private: {name or 'the model'} is a {type(layer).__name__}, which mixes the samples of a "
                "batch, so that no single one's part is bounded; use GroupNorm or LayerNorm"
            )
