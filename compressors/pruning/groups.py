"""What can be removed from a model, and what has to go together.

Owns the known forms of attention, and the grouping: units that are read at the same column, as the two terms of a
residual sum are, form one *group*; layers whose units are grouped form one *family*. Does not know what is worth
keeping, or how anything is cut.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from compressors.pruning.cuts import Place
from compressors.pruning.trace import Columns, Part, Source, Stage

Node = tuple[Source, int]  # one unit


@dataclass(frozen=True)
class Attention:
    """The names that one implementation of self-attention uses.

    `head` is the attribute with a head's size, `projections` are the submodules, `sizes` the attributes that count
    heads or features. A single projection computes queries, keys and values, in this order. Queries that share a key
    form one head with it.
    """

    head: str
    projections: tuple[str, ...]
    sizes: tuple[str, ...]


ATTENTIONS = (
    Attention("attention_head_size", ("query", "key", "value"), ("num_attention_heads", "all_head_size")),  # BERT
    Attention("attention_head_size", ("q_lin", "k_lin", "v_lin"), ("n_heads", "dim")),  # DistilBERT
    Attention("head_dim", ("c_attn",), ("num_heads", "split_size")),  # GPT-2
    Attention("head_dim", ("q_proj", "k_proj", "v_proj"), ("num_heads", "num_attention_heads", "embed_dim")),  # Llama
)


@dataclass(frozen=True)
class Family:
    """Layers whose units go together: group g has the units or columns `places[place][g]` (k,) at each place."""

    sources: tuple[Source, ...]
    places: Mapping[Place, Tensor]

    @property
    def count(self) -> int:
        """The number of groups; each contains one unit of every source."""
        return len(next(iter(self.places.values())))


def sources(stage: Stage) -> list[Source]:
    """Return all heads, neurons and channels; the projections of known attention have heads, not neurons."""
    heads = [source for module in stage.names for form in ATTENTIONS if (source := _heads(stage, module, form))]
    taken = {module for source in heads for module, _ in source.parts}
    return heads + [
        Source(stage.names[m], rule.unit, (Part(m, torch.arange(Place(m, "units", rule).size)[:, None]),), m)
        for m, rule in stage.rules.items()
        if rule.unit and m not in taken
    ]


def _heads(stage: Stage, module: nn.Module, form: Attention) -> Source | None:
    parts = [part for name, part in module.named_children() if name in form.projections]
    packed, head = 3 // len(form.projections), getattr(module, form.head, None)
    widths = [_units(stage, part) // packed for part in parts]
    if len(parts) != len(form.projections) or not isinstance(head, int) or min(widths) < head or head < 1:
        return None
    count = min(widths) // head
    if any(width % (count * head) for width in widths):
        return None
    rows = [torch.arange(packed * width).view(packed, count, -1).transpose(0, 1).flatten(1) for width in widths]
    sizes = ((name, size) for name in form.sizes if isinstance(size := getattr(module, name, None), int))
    per_head = tuple((name, size // count) for name, size in sizes)
    return Source(stage.names[module], "heads", tuple(map(Part, parts, rows)), module, per_head)


def _units(stage: Stage, module: nn.Module) -> int:
    rule = stage.rules.get(module)
    return Place(module, "units", rule).size if rule and rule.unit else 0


def families(stage: Stage, readers: Mapping[Source, Columns]) -> tuple[list[Family], dict[str, str]]:
    """Return the families, and the sources that belong to none: by name, with the reason.

    `readers` are those of `Stage.trace`.
    """
    by_sources: dict[tuple[Source, ...], list[_Group]] = defaultdict(list)
    for group in _groups(stage, readers):
        by_sources[tuple(dict.fromkeys(source for source, _ in group.nodes))].append(group)
    families_of = Counter(source for members in by_sources for source in members)
    whole: list[Family] = []
    left: dict[str, str] = {}
    for members, groups in by_sources.items():
        alike = all(_sizes(group) == _sizes(groups[0]) and len(group.nodes) == len(members) for group in groups)
        if alike and all(families_of[source] == 1 for source in members):
            places = {place: torch.tensor([g.places[place] for g in groups]) for place in groups[0].places}
            whole.append(Family(members, places))
        else:
            left |= {source.name: "its units are not each read alone, or not all alike" for source in members}
    return whole, left


@dataclass
class _Group:
    nodes: list[Node]
    places: dict[Place, list[int]]


def _sizes(group: _Group) -> dict[Place, int]:
    return {place: len(index) for place, index in group.places.items()}


def _groups(stage: Stage, readers: Mapping[Source, Columns]) -> list[_Group]:
    """Join all units that are read at one column, and gather the places of each group."""
    read_at: dict[tuple[nn.Module, int], list[Node]] = defaultdict(list)
    for source, columns in readers.items():
        for module, units in columns.items():
            for column, unit in enumerate(units.tolist()):
                if unit >= 0:
                    read_at[module, column].append((source, unit))
    nodes = [(source, unit) for source in readers for unit in range(source.count)]
    first = _join(nodes, read_at.values())
    groups = {node: _Group([], defaultdict(list)) for node in nodes if first[node] == node}
    for node in nodes:
        groups[first[node]].nodes.append(node)
        for module, index in node[0].parts:
            groups[first[node]].places[Place(module, "units", stage.rules[module])] += index[node[1]].tolist()
    for (module, column), read in read_at.items():
        groups[first[read[0]]].places[Place(module, "columns", stage.rules[module])].append(column)
    return list(groups.values())


def _join(nodes: Iterable[Node], bonds: Iterable[Sequence[Node]]) -> dict[Node, Node]:
    """Return for each node the first of the nodes to which bonds tie it, directly or not."""
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
