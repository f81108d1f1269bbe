"""What can be removed from a model, and what has to go together.

Owns the forms of attention that are known, and the grouping: units that are read at the same column (as the two ends of
a residual sum are) are one *group*; layers whose units are grouped are one *family*. Does not know what is worth
keeping, or how anything is cut.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from compressors.cuts import Place
from compressors.follow import Source, Stage

Node = tuple[Source, int]  # one unit


@dataclass(frozen=True)
class Attention:
    """Names in one way to write self-attention: count of heads, projections, width of all heads together.

    Where there is one projection, it holds queries, keys and values behind each other.
    """

    heads: str
    projections: tuple[str, ...]
    width: str


ATTENTIONS = (
    Attention("num_attention_heads", ("query", "key", "value"), "all_head_size"),  # BERT, RoBERTa, ELECTRA, ViT
    Attention("n_heads", ("q_lin", "k_lin", "v_lin"), "dim"),  # DistilBERT
    Attention("num_heads", ("c_attn",), "split_size"),  # GPT-2
)


@dataclass(frozen=True)
class Family:
    """Layers whose units go together: group g is `places[place][g]` (k,) at each place."""

    sources: tuple[Source, ...]
    places: Mapping[Place, Tensor]

    @property
    def count(self) -> int:
        """How many groups there are; one unit of each source is in each."""
        return len(next(iter(self.places.values())))

    def __str__(self) -> str:
        """Name the layers."""
        return ", ".join(source.name for source in self.sources)


def sources(stage: Stage) -> list[Source]:
    """Give all heads, neurons and channels; the projections of known attention have heads, not neurons."""
    heads = [found for module in stage.names for form in ATTENTIONS if (found := _heads(stage, module, form))]
    taken = {module for source in heads for module, _ in source.parts}
    return heads + [
        Source(stage.names[m], kind.unit, ((m, torch.arange(Place(m, "units", kind).size)[:, None]),), m)
        for m, kind in stage.kinds.items()
        if kind.unit and m not in taken
    ]


def _heads(stage: Stage, module: nn.Module, form: Attention) -> Source | None:
    parts = [part for name, part in module.named_children() if name in form.projections]
    count, width = getattr(module, form.heads, None), getattr(module, form.width, None)
    if not (isinstance(count, int) and isinstance(width, int) and count > 0 and width % count == 0):
        return None
    packed = 3 // len(form.projections)
    if [_units(stage, part) for part in parts] != [packed * width] * len(form.projections):
        return None
    index = torch.arange(packed * width).view(packed, count, -1).transpose(0, 1).flatten(1)
    sizes = ((form.heads, 1), (form.width, width // count))
    return Source(stage.names[module], "heads", tuple((part, index) for part in parts), module, sizes)


def _units(stage: Stage, module: nn.Module) -> int:
    kind = stage.kinds.get(module)
    return Place(module, "units", kind).size if kind and kind.unit else 0


def families(stage: Stage, readers: Mapping[Source, Mapping[nn.Module, Tensor]]) -> tuple[list[Family], dict[str, str]]:
    """Give the families, and by name the sources that have none, with the reason; `readers` as `Stage.readers` says."""
    found: dict[tuple[Source, ...], list[_Group]] = defaultdict(list)
    for group in _groups(stage, readers):
        found[tuple(dict.fromkeys(source for source, _ in group.nodes))].append(group)
    seen = Counter(source for among in found for source in among)
    good: list[Family] = []
    left: dict[str, str] = {}
    for among, groups in found.items():
        alike = all(_sizes(group) == _sizes(groups[0]) for group in groups)
        if alike and all(seen[source] == 1 for source in among):
            places = {place: torch.tensor([g.places[place] for g in groups]) for place in groups[0].places}
            good.append(Family(among, places))
        else:
            left |= {source.name: "its units are not all read alike" for source in among}
    return good, left


@dataclass
class _Group:
    nodes: list[Node]
    places: dict[Place, list[int]]


def _sizes(group: _Group) -> dict[Place, int]:
    return {place: len(index) for place, index in group.places.items()}


def _groups(stage: Stage, readers: Mapping[Source, Mapping[nn.Module, Tensor]]) -> list[_Group]:
    """Join all units that are read at one column, and gather what each group has where."""
    at: dict[tuple[nn.Module, int], list[Node]] = defaultdict(list)
    for source, found in readers.items():
        for module, units in found.items():
            for column, unit in enumerate(units.tolist()):
                if unit >= 0:
                    at[module, column].append((source, unit))
    nodes = [(source, unit) for source in readers for unit in range(source.count)]
    first = _join(nodes, at.values())
    groups = {node: _Group([], defaultdict(list)) for node in nodes if first[node] == node}
    for node in nodes:
        groups[first[node]].nodes.append(node)
        for module, index in node[0].parts:
            groups[first[node]].places[Place(module, "units", stage.kinds[module])] += index[node[1]].tolist()
    for (module, column), by in at.items():
        groups[first[by[0]]].places[Place(module, "columns", stage.kinds[module])].append(column)
    return list(groups.values())


def _join(nodes: Iterable[Node], bonds: Iterable[Sequence[Node]]) -> dict[Node, Node]:
    """Give for each node the first node that bonds, directly or not, tie it to."""
    order = {node: i for i, node in enumerate(nodes)}
    to = {node: node for node in order}

    def end(node: Node) -> Node:
        while to[node] != node:
            to[node] = node = to[to[node]]
        return node

    for bond in bonds:
        for other in bond[1:]:
            early, late = sorted((end(bond[0]), end(other)), key=order.__getitem__)
            to[late] = early
    return {node: end(node) for node in order}
