"""Hidden states and attention maps of a model, and their distance from another model's.

Owns how they are read, which layers of two models are compared, and the distances. Does not know the rest of the loss,
or who trains. Shapes: N rows, S positions, D features, H heads.

A model shows its hidden states in one of two ways:

- It names submodules in two attributes, tuples of names as for `get_submodule`; one of them may be missing. Those in
  `hidden_layers` return (N, ..., D), those in `attention_layers` return (N, H, S, S) or (N, S, S). If a layer returns a
  tuple, the first member is the hidden state and the second the attention map, as in `nn.MultiheadAttention`. Layers
  count in the order in which they run.
- Otherwise the outermost Hugging Face model in it (one with `config.output_hidden_states`) is called with
  `output_hidden_states=True` and `output_attentions=True`, if its forward takes them. Its first hidden state, the
  embeddings, is left out. Fused attention returns no maps: load the model with `attn_implementation="eager"`. A model
  with encoder and decoder returns its states under other names: name its layers.

What only one of the two models shows is not compared. Padding counts like any other position.
"""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

from compressors.answers import evaluating

SMALLEST = 1e-8  # of a student's attention: what dropout or padding made zero has a finite loss and no gradient


@dataclass
class States:
    """The hidden states and the attention maps of one forward, each from the first layer to the last."""

    hidden: list[Tensor] = field(default_factory=list)
    attention: list[Tensor] = field(default_factory=list)


def observe(model: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, States]:
    """Return the model's outputs, and its states during that forward.

    Raises:
        ValueError: the model shows no states, or names a layer that it lacks or that does not return a tensor.
    """
    states = States()
    hooks = _by_name(model, states) or _by_asking(model, states)
    try:
        output = model(*inputs)
    finally:
        for hook in hooks:
            hook.remove()
    if not states.hidden and not states.attention:
        raise ValueError(
            f"{type(model).__name__} shows no hidden states: name its layers in an attribute hidden_layers or "
            "attention_layers, or use a Hugging Face model that returns a ModelOutput"
        )
    return output, states


def layer_map(student: int, teacher: int) -> tuple[int, ...]:
    """Return for each of `student` layers the index of the one, of `teacher` layers, that it is compared with.

    Evenly spaced, the last one with the last: g(m) = m N/M of TinyBERT (Jiao et al., arXiv 1909.10351), rounded up.
    """
    return tuple(-(-layer * teacher // student) - 1 for layer in range(1, student + 1))


def hidden_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """Return each row's mean squared difference (N,): MSE(H_S W, H_T) of TinyBERT (arXiv 1909.10351), W applied."""
    _same("hidden states", student, teacher)
    return (student - teacher).square().flatten(1).mean(1)


def attention_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """Return each row's KL(teacher ‖ student) of what a position attends to, the mean over positions and heads (N,).

    From MiniLM (Wang et al., arXiv 2002.10957), which compares the last layer only. If the numbers of heads differ, the
    maps are first averaged over the heads, and remain distributions.
    """
    if student.shape != teacher.shape:
        student, teacher = (maps.mean(1) if maps.dim() == 4 else maps for maps in (student, teacher))
    _same("attention maps", student, teacher)
    log = student.clamp(min=SMALLEST).log()
    return (torch.xlogy(teacher, teacher) - teacher * log).sum(-1).flatten(1).mean(1)


class Hints(nn.Module):
    """The distance between two models' states: of hidden states plus of attention maps, each the mean over layers.

    Its parameters are projections, linear and without bias (TinyBERT's W_h), one for each compared layer whose number
    of features differs from its teacher's. The constructor observes both models on `inputs`, and draws the projections
    from the global random generator.

    Raises:
        ValueError: the two show neither hidden states nor attention maps in common, or as `observe`.
    """

    def __init__(self, student: nn.Module, teacher: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        super().__init__()
        ours, theirs = (_states(model, inputs) for model in (student, teacher))
        hidden = _pairs(ours.hidden, theirs.hidden)
        if not hidden and not _pairs(ours.attention, theirs.attention):
            raise ValueError(
                "one model shows hidden states alone and the other attention maps alone: nothing in common"
            )
        self.projections = nn.ModuleList(_projection(s.shape[-1], t.shape[-1]) for s, t in hidden)

    def forward(self, ours: States, theirs: States) -> Tensor:
        """Return the distance of each row (N,)."""
        hidden = zip(self.projections, _pairs(ours.hidden, theirs.hidden), strict=True)
        parts = [
            [hidden_distance(project(s), t) for project, (s, t) in hidden],
            [attention_distance(s, t) for s, t in _pairs(ours.attention, theirs.attention)],
        ]
        return torch.stack([torch.stack(part).mean(0) for part in parts if part]).sum(0)


def _pairs(ours: Sequence[Tensor], theirs: Sequence[Tensor]) -> list[tuple[Tensor, Tensor]]:
    """Return each of the student's layers with the teacher's that it is compared with."""
    if not theirs:
        return []
    return [(one, theirs[i]) for one, i in zip(ours, layer_map(len(ours), len(theirs)), strict=True)]


def _projection(student: int, teacher: int) -> nn.Module:
    return nn.Identity() if student == teacher else nn.Linear(student, teacher, bias=False)


def _states(model: nn.Module, inputs: tuple[Tensor, ...]) -> States:
    with evaluating(model):
        return observe(model, inputs)[1]


def _same(what: str, student: Tensor, teacher: Tensor) -> None:
    if student.shape != teacher.shape:
        shapes = f"{tuple(student.shape)} and {tuple(teacher.shape)}"
        raise ValueError(f"{what} of student and teacher do not fit together: {shapes}")


def _by_name(model: nn.Module, states: States) -> list[RemovableHandle]:
    """Hook the submodules that the model names; return the hooks."""
    hooks = []
    for attribute, member, kept in (("hidden_layers", 0, states.hidden), ("attention_layers", 1, states.attention)):
        for name in getattr(model, attribute, ()):
            try:
                layer = model.get_submodule(name)
            except AttributeError as wrong:
                raise ValueError(f"{attribute} names {name!r}, which the model does not have") from wrong
            hooks.append(layer.register_forward_hook(_keep(f"{attribute}: {name!r}", member, kept)))
    return hooks


def _keep(layer: str, member: int, kept: list[Tensor]) -> Callable[[nn.Module, Any, Any], None]:
    def hook(_: nn.Module, __: Any, output: Any) -> None:
        state = output[member] if isinstance(output, tuple) and len(output) > member else output
        if not isinstance(state, Tensor):
            raise ValueError(f"{layer} returns {type(state).__name__}, not a tensor")
        if state.is_nested:
            raise ValueError(
                f"{layer} returns a nested tensor: make its TransformerEncoder with enable_nested_tensor=False"
            )
        kept.append(state)

    return hook


def _by_asking(model: nn.Module, states: States) -> list[RemovableHandle]:
    """Hook the outermost Hugging Face model: one hook asks for its states, one reads them; return the hooks."""
    models = (m for m in model.modules() if hasattr(getattr(m, "config", None), "output_hidden_states"))
    asked = next(models, None)
    if asked is None:
        return []
    takes = inspect.signature(asked.forward).parameters
    takes_any = any(one.kind is inspect.Parameter.VAR_KEYWORD for one in takes.values())
    question = {name: True for name in ("output_hidden_states", "output_attentions") if takes_any or name in takes}

    def ask(_: nn.Module, args: Any, named: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        return args, named | question

    def read(_: nn.Module, __: Any, output: Any) -> None:
        states.hidden.extend((getattr(output, "hidden_states", None) or ())[1:])
        states.attention.extend(t for t in getattr(output, "attentions", None) or () if t is not None)

    return [asked.register_forward_pre_hook(ask, with_kwargs=True), asked.register_forward_hook(read)]
