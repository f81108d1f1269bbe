"""The teacher and the shadow, made of a user's model, and what is refused there.

Owns which models can learn, and these messages. Does not know samples, or when either is made.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from compressors.checks import check_learning, check_model
from compressors.errors import Unsuited
from compressors.form import training_form
from compressors.pruning.refresh import refreshed
from compressors.recipe import Prune, Quantize, Recipe
from compressors.wrappers import unwrapped
from learners.online.networks.network import Network
from learners.online.networks.tensors import tensors
from learners.online.past import Past
from learners.online.settings import Online
from streams.errors import ConfigError


def teacher(model: Callable[[], nn.Module], spec: Online, secret: bytes) -> Network:
    """Make the teacher: the user's model in float.

    Raises:
        ConfigError: no parameter learns.
        ValueError: a parameter cannot be compressed or trained; names it.
    """
    made = unwrapped(model())
    check_model(made)
    check_learning(made)
    if not any(p.requires_grad for p in made.parameters()):
        raise ConfigError("no parameter of the model learns: all have requires_grad=False; leave it True for some")
    return Network(made, spec, secret and secret + b"teacher")


def shadow(plain: nn.Module, recipe: Recipe, spec: Online, left: Past | None, secret: bytes) -> Network:
    """Make the shadow: a plain model in the form that the recipe trains, with these weights left in float.

    Raises:
        ValueError: nothing of the model remains for a step of the recipe, or to be refreshed; says why.
    """
    masked = recipe.first(Prune) or recipe.first(Quantize)
    made = Network(training_form(plain, recipe, left) if masked else plain, spec, secret and secret + b"shadow")
    if spec.refresh_every and not refreshed(made.model):
        raise ValueError(
            f"Online.refresh_every is {spec.refresh_every}, but the recipe '{recipe}' prunes no weight of this model "
            "that learns: there is no mask to refresh; add a prune step, or leave refresh_every at 0"
        )
    return made


def fresh(model: Callable[[], nn.Module], seed: int) -> dict[str, Tensor]:
    """Return the weights of the user's model, drawn anew; torch's chance stays as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return tensors(unwrapped(model()))


@contextmanager
def suited() -> Iterator[None]:
    """Raise as a ConfigError that a model does not take its rows, or does not answer as the task needs."""
    try:
        yield
    except Unsuited as wrong:
        raise ConfigError(str(wrong)) from wrong
