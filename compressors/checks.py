"""What is refused of a model before anything is computed.

Owns these checks. Does not know recipes, rows or tasks (agreement.py).
"""

import torch
from torch import nn


def check_model(model: nn.Module) -> None:
    """Refuse parameters that are not float32, in which compression computes.

    Raises:
        ValueError: names one of them.
    """
    other = {n: p.dtype for n, p in model.named_parameters() if p.is_floating_point() and p.dtype != torch.float32}
    for name, dtype in other.items():
        raise ValueError(
            f"compression computes in float32, but {len(other)} of the model's parameters have another type, such as "
            f"{name}, which is {dtype}: pass model.float()"
        )
