"""Weights that the model reads past their layers: the shadow leaves them in float, and its state says so.

Owns when they are looked for, and the record: JSON, the reason of each by its name. A state without one is of a learner
that has seen no rows. Does not know how such reads are noticed (`compressors.weight_reads`).
"""

import json
import logging

import torch
from torch import Tensor, nn

from compressors.dry_run import ROWS
from compressors.weight_reads import read_past
from compressors.wrappers import copied
from learners.online.batches import Inputs

Past = dict[str, str]


def find(model: nn.Module, inputs: Inputs) -> Past:
    """Return the weights that a plain model reads past their layers on the first of these rows, and why."""
    return read_past(copied(model), tuple(t[:ROWS] for t in inputs), training=True)


def warn(past: Past | None) -> None:
    """Log each of these weights, and why it stays in float."""
    for name, why in (past or {}).items():
        logging.getLogger("shadowstream").warning("%s stays in float: %s", name, why)


def pack(past: Past) -> Tensor:
    """Return the record as a tensor of bytes."""
    return torch.tensor(list(json.dumps(past, sort_keys=True).encode()), dtype=torch.uint8)


def unpack(record: Tensor | None) -> Past | None:
    """Return what `pack` recorded, None if there is no record."""
    past: Past | None = None if record is None else json.loads(bytes(record.tolist()))
    return past
