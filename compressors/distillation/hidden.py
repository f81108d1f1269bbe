"""What happens inside a model between input and answer, and how far it is from what happens inside another one.

Owns how hidden states and attention maps are had, which of two models' layers are compared, and the distances. Does not
know the rest of the loss, or who trains. Shapes: N rows, S positions, D width, H heads.

How a model shows its inside, whatever wraps it:

- A plain module names submodules of its own, in two attributes that are tuples of names as in `get_submodule`, either
  of them may be absent: `hidden_layers`, each of which gives (N, ..., D), and `attention_layers`, each of which gives
  (N, H, S, S) or (N, S, S). Of a tuple the hidden state is the first and the attention map the second member, as in
  `nn.MultiheadAttention`. They count in the order in which they run.
- Otherwise the outermost Hugging Face model in it (known by `config.output_hidden_states`) is asked with
  `output_hidden_states=True` and `output_attentions=True`, as far as its forward takes them; the embeddings, which it
  gives as the first hidden state, are left out. Its fused attentions give no maps: load it with
  `attn_implementation="eager"` to have them. One of encoder and decoder answers otherwise: name its layers.

Hidden states, or attention maps, that only one of the two models shows are not compared. Padding counts as any
position does.
"""

import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.hooks import RemovableHandle

SMALLEST = 1e-8  # of a student's attention: what dropout or padding made zero costs a finite number and teaches nothing


@dataclass
class States:
    """One pass's hidden states and attention maps, each from the first layer to the last."""

    hidden: list[Tensor] = field(default_factory=list)
    attention: list[Tensor] = field(default_factory=list)


def look(model: nn.Module, inputs: tuple[Tensor, ...]) -> tuple[Tensor, States]:
    """Give the model's answer, and what it showed on the way.

    Raises:
        ValueError: it shows nothing, or names a layer that it lacks or that gives no tensor.
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


@contextmanager
def still(model: nn.Module) -> Iterator[None]:
    """In eval mode and without gradients; the mode is put back."""
    was = model.training
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        model.train(was)


def layer_map(student: int, teacher: int) -> tuple[int, ...]:
    """Which of the `teacher` layers each of the `student` ones is compared with, from 0.

    Uniform, the last one with the last: g(m) = m N/M of TinyBERT (Jiao et al., arXiv 1909.10351), rounded up.
    """
    return tuple(-(-layer * teacher // student) - 1 for layer in range(1, student + 1))


def hidden_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """Mean squared difference in each row, (N,): MSE(H_S W, H_T) of TinyBERT (arXiv 1909.10351), W applied."""
    _same("hidden states", student, teacher)
    return (student - teacher).square().flatten(1).mean(1)


def attention_distance(student: Tensor, teacher: Tensor) -> Tensor:
    """KL(teacher ‖ student) of what each position attends to, mean over positions and heads, (N,).

    MiniLM's (Wang et al., arXiv 2002.10957), here over every layer that is shown. Where the numbers of heads differ,
    the maps are first averaged over them, which leaves them distributions.
    """
    if student.shape != teacher.shape:
        student, teacher = (maps.mean(1) if maps.dim() == 4 else maps for maps in (student, teacher))
    _same("attention maps", student, teacher)
    log = student.clamp(min=SMALLEST).log()
    return (torch.xlogy(teacher, teacher) - teacher * log).sum(-1).flatten(1).mean(1)


class Hints(nn.Module):
    """The distance between two models' insides: over hidden states and over attention maps, each the mean over layers.

    Holds what it learns: for each compared layer of another width than its teacher's a projection, linear and without
    bias (TinyBERT's W_h). Made by looking once at both models on `inputs`; the projections' start is drawn from the
    global random generator.

    Raises:
        ValueError: the two have neither hidden states nor attention maps in common, or `look` says why.
    """

    def __init__(self, student: nn.Module, teacher: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        super().__init__()
        ours, theirs = (_look_still(model, inputs) for model in (student, teacher))
        hidden = _pairs(ours.hidden, theirs.hidden)
        if not hidden and not _pairs(ours.attention, theirs.attention):
            raise ValueError(
                "one model shows hidden states alone and the other attention maps alone: nothing in common"
            )
        self.projections = nn.ModuleList(_projection(s.shape[-1], t.shape[-1]) for s, t in hidden)

    def forward(self, ours: States, theirs: States) -> Tensor:
        """Distance of each row, (N,)."""
        hidden = zip(self.projections, _pairs(ours.hidden, theirs.hidden), strict=True)
        parts = [
            [hidden_distance(project(s), t) for project, (s, t) in hidden],
            [attention_distance(s, t) for s, t in _pairs(ours.attention, theirs.attention)],
        ]
        return torch.stack([torch.stack(part).mean(0) for part in parts if part]).sum(0)


def _pairs(ours: Sequence[Tensor], theirs: Sequence[Tensor]) -> list[tuple[Tensor, Tensor]]:
    """Each of the student's layers with its teacher's."""
    if not theirs:
        return []
    return [(one, theirs[i]) for one, i in zip(ours, layer_map(len(ours), len(theirs)), strict=True)]


def _projection(student: int, teacher: int) -> nn.Module:
    return nn.Identity() if student == teacher else nn.Linear(student, teacher, bias=False)


def _look_still(model: nn.Module, inputs: tuple[Tensor, ...]) -> States:
    with still(model):
        return look(model, inputs)[1]


def _same(what: str, student: Tensor, teacher: Tensor) -> None:
    if student.shape != teacher.shape:
        shapes = f"{tuple(student.shape)} and {tuple(teacher.shape)}"
        raise ValueError(f"{what} of student and teacher do not fit together: {shapes}")


def _by_name(model: nn.Module, states: States) -> list[RemovableHandle]:
    """Hook the submodules that the model names."""
    hooks = []
    for attribute, place, kept in (("hidden_layers", 0, states.hidden), ("attention_layers", 1, states.attention)):
        for name in getattr(model, attribute, ()):
            try:
                layer = model.get_submodule(name)
            except AttributeError as wrong:
                raise ValueError(f"{attribute} names {name!r}, which the model does not have") from wrong
            hooks.append(layer.register_forward_hook(_keep(f"{attribute}: {name!r}", place, kept)))
    return hooks


def _keep(where: str, place: int, kept: list[Tensor]) -> Callable[[nn.Module, Any, Any], None]:
    def hook(_: nn.Module, __: Any, output: Any) -> None:
        found = output[place] if isinstance(output, tuple) and len(output) > place else output
        if not isinstance(found, Tensor):
            raise ValueError(f"{where} gives {type(found).__name__} where a tensor is looked for")
        if found.is_nested:
            raise ValueError(
                f"{where} gives a nested tensor: make its TransformerEncoder with enable_nested_tensor=False"
            )
        kept.append(found)

    return hook


def _by_asking(model: nn.Module, states: States) -> list[RemovableHandle]:
    """Hook the outermost Hugging Face model: the question before its forward, its output after."""
    found = (m for m in model.modules() if hasattr(getattr(m, "config", None), "output_hidden_states"))
    asked = next(found, None)
    if asked is None:
        return []
    takes = inspect.signature(asked.forward).parameters
    anything = any(one.kind is inspect.Parameter.VAR_KEYWORD for one in takes.values())
    question = {name: True for name in ("output_hidden_states", "output_attentions") if anything or name in takes}

    def ask(_: nn.Module, args: Any, named: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
        return args, named | question

    def read(_: nn.Module, __: Any, output: Any) -> None:
        states.hidden.extend((getattr(output, "hidden_states", None) or ())[1:])
        states.attention.extend(t for t in getattr(output, "attentions", None) or () if t is not None)

    return [asked.register_forward_pre_hook(ask, with_kwargs=True), asked.register_forward_hook(read)]
