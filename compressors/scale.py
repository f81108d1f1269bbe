"""The scale of a regression's labels: their mean and spread, which a model may carry.

A model that carries a scale computes in units of the spread, and answers mean + spread · output, in the label's own
unit. So it learns at the same speed whatever that unit is (van Hasselt et al., arXiv 1602.07714). The scale is a
buffer that is not in the state, and a hook that multiplies. Owns both, and how a model comes to carry one. Does not
know tasks.
"""

import math
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from compressors.answers import answers, evaluating
from compressors.rows import Rows

BUFFER = "_label_scale"
WITHIN = 10  # spreads from the mean; a label further off counts as one there, or a single wild one would be the scale
ROUNDS = 50
FAINT = 1e4  # |mean| / spread above which float32 would lose more than a thousandth of the spread
LOOKED_AT = 1_000  # answers by which it is judged whether a model knows the label's unit
CORRELATED = 0.01  # the least squared correlation of a trained model's answers with the labels
CLEARLY = 4  # so many times nearer to the labels


class Scale(NamedTuple):
    """The mean and the spread (standard deviation) of labels, in their unit."""

    mean: float = 0.0
    spread: float = 1.0

    @classmethod
    def of(cls, labels: Tensor) -> "Scale":
        """Return the scale of labels (N,): those that lie far off count as the nearest that does not."""
        values, scale = labels.double(), cls()
        for _ in range(ROUNDS if len(values) else 0):
            before, scale = scale, cls(float(values.mean()), float(values.std(correction=0)))
            values = values.clamp(scale.mean - WITHIN * scale.spread, scale.mean + WITHIN * scale.spread)
            if scale == before:
                break
        return scale.sound()

    def sound(self) -> "Scale":
        """Return a scale by which can be divided, also of labels that are all the same."""
        least = max(abs(self.mean) * 1e-12, 1e-150)
        return self if self.spread > least else Scale(self.mean, abs(self.mean) or 1.0)


UNIT = Scale()


def put(model: nn.Module, scale: Scale | None) -> None:
    """Let a model answer in the unit of this scale from now on; None: as its forward does."""
    hooks = [key for key, hook in model._forward_hooks.items() if hook is in_the_labels_unit]
    if scale is None:
        for key in hooks:
            del model._forward_hooks[key]
        model._buffers.pop(BUFFER, None)
        return
    if not hooks:
        model.register_forward_hook(in_the_labels_unit)
    kind = torch.float32 if abs(scale.mean) <= FAINT * scale.spread else torch.float64
    model.register_buffer(BUFFER, torch.tensor(scale, dtype=torch.float64).to(kind), persistent=False)


def of(model: Any) -> Scale | None:
    """Return the scale that a model carries."""
    kept = getattr(model, "_buffers", {}).get(BUFFER)
    return None if kept is None else Scale(*kept.tolist())


def zero(model: Any) -> float:
    """Return the answer from which those of a model are to be measured: the labels' mean, if it carries their scale."""
    return (of(model) or UNIT).mean


def in_the_labels_unit(model: nn.Module, _: Any, output: Tensor) -> Tensor:
    """Turn a standardized output into an answer: the hook of a model that carries a scale."""
    scale: Tensor = model._buffers[BUFFER]  # type: ignore[assignment]
    return output.to(scale.dtype) * scale[1] + scale[0]


def standardize(model: nn.Module, scale: Scale, rows: Rows, labels: Tensor) -> None:
    """Let a model carry the scale of the labels, before it is trained.

    If it was trained in the labels' unit before, its last layer is divided by the spread, and it answers as it did.
    Otherwise it knows nothing of the unit, and its outputs are taken as standardized. Where the last layer is no Linear
    of its own, a model that was trained before is left as it is.
    """
    if of(model) is not None or not len(rows):
        return
    chosen = torch.arange(0, len(rows), -(-len(rows) // LOOKED_AT))
    some, trained = rows.at(chosen), True
    if len(chosen) > 1:
        trained = _knows_the_unit(answers(model, some).flatten().double(), labels[chosen].double(), scale)
    last = _last(model, some) if trained else None
    if last is not None:
        with torch.no_grad():
            last.weight.copy_(last.weight.double() / scale.spread)
            last.bias.copy_((last.bias.double() - scale.mean) / scale.spread)
    if last is not None or not trained:
        put(model, scale)


def _knows_the_unit(output: Tensor, label: Tensor, scale: Scale) -> bool:
    """Return whether outputs are answers in the labels' unit: calibrated, or much nearer than standardized ones.

    The slope b of the best line through labels over outputs is about 1 where a model was trained, and has the unit
    where it was not.
    """
    z, y = output - output.mean(), label - label.mean()
    both, own, all_of_y = (float(t) for t in ((z * y).mean(), z.square().mean(), y.square().mean()))
    near = abs(float(output.mean()) - scale.mean) <= 3 * scale.spread
    if near and both > 0 and both**2 >= CORRELATED * own * all_of_y and own / 3 <= both <= 3 * own:
        return True
    off, standardized = ((t - label).square().mean() for t in (output, scale.mean + scale.spread * output))
    return bool(CLEARLY**2 * off < standardized)


def _last(model: nn.Module, rows: Rows) -> nn.Linear | None:
    """Return the Linear whose output is the model's, if it has a bias, runs once, learns, and shares no weights."""
    seen: dict[nn.Linear, list[Tensor]] = {
        m: [] for m in model.modules() if type(m) is nn.Linear and isinstance(m.bias, Tensor)
    }
    hooks = [layer.register_forward_hook(lambda m, _, out: seen[m].append(out)) for layer in seen]
    try:
        with evaluating(model):
            output = model(*rows.batch(torch.arange(min(2, len(rows)))))
    finally:
        for hook in hooks:
            hook.remove()
    for layer, made in seen.items():
        same = len(made) == 1 and made[0].data_ptr() == output.data_ptr() and made[0].numel() == output.numel()
        if same and layer.weight.requires_grad and _uses(model, layer.weight) == 1:
            return layer
    return None


def _uses(model: nn.Module, weight: Tensor) -> int:
    return sum(weight is own for module in model.modules() for own in module._parameters.values())


def read(kept: Any) -> Scale | None:
    """Return the scale that JSON holds, None for null.

    Raises:
        ValueError: it is no scale.
    """
    if kept is None:
        return None
    if not (isinstance(kept, list | tuple) and len(kept) == 2 and all(type(x) in (int, float) for x in kept)):
        raise ValueError("a scale is two numbers, the labels' mean and spread")
    scale = Scale(float(kept[0]), float(kept[1]))
    if not (math.isfinite(scale.mean) and math.isfinite(scale.spread) and scale.spread > 0):
        raise ValueError("a scale is finite, and its spread is positive")
    return scale
