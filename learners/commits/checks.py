"""Before anything is learned: a state is saved and loaded, and must go on as the one that was not.

Owns this trial. What a forward changes and no state holds would make a restart, and each rebuild, learn otherwise. Does
not know pipelines.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from compressors.data import Data
from learners.commits.state import pack_state, unpack_state
from learners.online.learner import Learner
from learners.online.networks.network import Network
from streams.errors import ConfigError, NotFinite

ROWS = 8


def check_state(make: Callable[[], Learner], data: Data) -> None:
    """Learn a few rows, save the state, load it into another learner, and go on in both.

    Raises:
        ConfigError: the model does not take the rows, or the two do not end at the same bits; names what differs.
    """
    with torch.random.fork_rng(devices=[]):
        one, other = make(), make()
        one.agree(data)
        try:
            _learn(one, data)
            other.load(unpack_state(pack_state(one.state())))
            _learn(one, data)
            _learn(other, data)
        except NotFinite:
            return  # learning says so where it is due
        _compare(one.state(), other.state())


def _learn(learner: Learner, data: Data) -> None:
    inputs, target = data.batch(torch.arange(min(ROWS, len(data))))
    for network in (learner.teacher, learner.shadow):
        _step(network, inputs, target, learner)


def _step(network: Network, inputs: tuple[Tensor, ...], target: Tensor, learner: Learner) -> None:
    torch.manual_seed(0)
    network.learn(inputs, target, learner.task)


def _compare(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> None:
    differ = sorted(one.keys() ^ other.keys()) or [n for n, t in one.items() if not _equal(t, other[n])]
    if differ:
        raise ConfigError(
            f"a model whose state was saved and loaded goes on to learn otherwise, first in {differ[0]}: its forward "
            "changes something that is no buffer, or draws chance of its own; what a forward changes must be a tensor "
            "that register_buffer() made, and chance must be torch's"
        )


def _equal(one: Tensor, other: Tensor) -> bool:
    return one.shape == other.shape and torch.equal(one.nan_to_num(), other.nan_to_num())
