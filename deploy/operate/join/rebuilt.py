"""A feed's commits learned again, for `audit --rebuild`: the one part of an audit that needs torch."""

from pathlib import Path

import torch

from deploy import pipeline
from deploy.learning.candidates import make_learner
from deploy.operate.attach import Attached
from deploy.registry.commits import Rebuilt
from deploy.registry.rebuild import check
from streams.errors import ConfigError


def rebuilt(path: Path, attached: Attached) -> Rebuilt:
    """Return how the learner's last state compares with the one that its commits make.

    Raises:
        ConfigError: there are no commits.
    """
    if not attached.registry:
        raise ConfigError("--rebuild needs commits, and there are none: the feed is joined without a model")
    torch.set_num_threads(1)  # as the learner does
    return check(make_learner(pipeline.load(path), attached.registry), attached.registry)
