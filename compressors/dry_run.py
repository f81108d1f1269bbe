"""A dry run of a model: it answers twice, takes one step, is saved and loaded, before anything is trained in earnest.

What an artifact cannot hold, or an optimizer cannot take, is found here and named, not after an hour of training. Owns
these trials. Does not know recipes, or the artifact's format.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from compressors import scale
from compressors.answers import answers
from compressors.data import Data, Losses
from compressors.norms import any_rows
from compressors.rows import Rows
from compressors.wrappers import copied

ROWS = 16
NEAR = 1e-5  # of the largest output: what the order of a sum may change
PLAIN = (Tensor, bool, int, float, complex, str, bytes, type(None))


def dry_run(model: nn.Module, factory: Callable[[], nn.Module], data: Data, losses: Losses, *, trains: bool) -> None:
    """Try a model on the first rows; it is not changed. `factory` makes one like it, `trains` adds one training step.

    Raises:
        ValueError: it answers the same rows differently in eval mode, a training step fails, or with its state another
            one answers differently; names what changed.
    """
    rows = Data(*data.batch(torch.arange(min(ROWS, len(data)))))
    model = copied(model)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        check_repeats(model, rows.inputs)
        if trains:
            _check_step(model, rows, losses)
        _check_state(model, factory, rows)


def check_repeats(model: nn.Module, inputs: Rows | Sequence[Tensor]) -> None:
    """Check that a model answers the same rows alike when it is asked twice in eval mode.

    Raises:
        ValueError: it does not; names what its forward has changed.
    """
    first = answers(model, inputs)
    before = _held(model)
    second = answers(model, inputs)
    if gap := _gap(first, second):
        raise ValueError(
            f"the model answers the same rows differently when it is asked twice in eval mode, by {gap:.2g} of its "
            "largest output: nothing in its forward may be drawn anew there (F.dropout needs training=self.training; "
            f"MC dropout belongs outside), or go on from the call before{_changed(before, _held(model))}"
        )


def _check_step(model: nn.Module, rows: Data, losses: Losses) -> None:
    learning = {name: p for name, p in model.named_parameters() if p.requires_grad}
    if not learning:
        return  # the training says so
    model.train()
    try:
        with any_rows(model):
            losses.losses(model(*rows.inputs), rows.labels).mean().backward()  # type: ignore[no-untyped-call]
    except RuntimeError as wrong:
        raise ValueError(f"a training step of the model fails: {wrong}") from wrong
    for name, parameter in learning.items():
        if parameter.grad is not None and parameter.grad.layout is not torch.strided:
            raise ValueError(
                f"{name} gets sparse gradients, which AdamW does not take: make its layer with sparse=False, or set "
                "its requires_grad to False"
            )
    torch.optim.AdamW(learning.values()).step()
    model.zero_grad()


def _check_state(model: nn.Module, factory: Callable[[], nn.Module], rows: Data) -> None:
    """Load the model's state into a fresh one and compare the answers."""
    with torch.random.fork_rng(devices=[]):
        fresh = copied(factory())
    try:
        fresh.load_state_dict(model.state_dict())
    except RuntimeError as wrong:
        raise ValueError(f"the model's own state cannot be loaded again: {wrong}") from wrong
    scale.put(fresh, scale.of(model))  # the artifact has it
    ours, theirs = _attributes(model), _attributes(fresh)
    if gap := _gap(answers(model, rows.inputs), answers(fresh, rows.inputs)):
        raise ValueError(
            f"a fresh model with this one's state_dict answers differently, by {gap:.2g} of the largest output: "
            "something that changes the answers is not in the state_dict, and so would be lost with an artifact; make "
            f"it a persistent buffer, or keep it fixed{_changed(theirs, ours)}"
        )


def _gap(one: Tensor, other: Tensor) -> float:
    """Return how far answers are apart, as a share of the largest; 0 if they are near."""
    one, other = (torch.nan_to_num(t.float()) for t in (one, other))
    gap = float((one - other).abs().max() / one.abs().max().clamp_min(1e-30)) if one.numel() else 0.0
    return gap if gap > NEAR else 0.0


def _held(model: nn.Module) -> dict[str, Any]:
    """Return copies of all that a forward may change: saved buffers too."""
    return _attributes(model) | {f"{name} (a buffer)": t.clone() for name, t in model.state_dict().items()}


def _attributes(model: nn.Module) -> dict[str, Any]:
    """Return copies of what modules hold besides their state: buffers that are not saved, and plain attributes."""
    saved = model.state_dict().keys()
    held: dict[str, Any] = {
        f"{name} (a buffer with persistent=False)": t.clone() for name, t in model.named_buffers() if name not in saved
    }
    for path, module in model.named_modules():
        for name, value in vars(module).items():
            if not name.startswith("_") and name != "training" and _is_plain(value):
                held[f"{path}.{name}" if path else name] = value.clone() if isinstance(value, Tensor) else value
    return held


def _is_plain(value: Any) -> bool:
    return isinstance(value, PLAIN) or (type(value) in (list, tuple) and all(map(_is_plain, value)))


def _changed(before: Mapping[str, Any], after: Mapping[str, Any]) -> str:
    names = [name for name in after if not _same(before.get(name, ...), after[name])]
    return f"; changed: {', '.join(names[:5])}" if names else ""


def _same(one: Any, other: Any) -> bool:
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, Tensor) and isinstance(other, Tensor):
        return one.shape == other.shape and one.dtype == other.dtype and torch.equal(one, other)
    return type(one) is type(other) and (one is other or one == other)
