"""How large a request may be: its prediction, with the longest numbers and names, still fits into a record."""

from typing import Any, NamedTuple

import pytest
import torch
from msgspec import Raw

from deploy.serving.server import Answers, _most_bytes
from learners.tasks.classes import Classes
from learners.tasks.multilabel import MultiLabel
from learners.tasks.task import Answering
from shadowstream import ConfigError
from streams.events import Prediction, answered
from streams.join.fits import ID_BYTES, ID_COST

LONGEST = -1.2345678901234567e-105
NAMES = tuple(f"{n:060}" for n in range(30))


class Sink(NamedTuple):
    """What is asked of a sink here: how large a topic's records may be."""

    bytes: int

    def limit_bytes(self, _: str) -> int:
        return self.bytes


@pytest.mark.parametrize("task", [Classes(NAMES), MultiLabel(NAMES), MultiLabel(30)])
def test_the_largest_request_s_prediction_fits(task: Any) -> None:
    sink: Any = Sink(16_384)
    most = _most_bytes(Answers("t", 1, sink), task) - ID_COST * ID_BYTES
    numbers = (LONGEST,) * 30
    prediction = Prediction("\x01" * ID_BYTES, 2**53, 2**53, numbers, numbers, 2**53, Raw(b"1" * most))
    assert isinstance(task, Answering)
    (meaning,) = task.answers(torch.full((1, 30), 1.2345678e-5))
    assert len(answered(prediction, meaning)) + ID_BYTES <= sink.bytes
    with pytest.raises(ConfigError, match="a prediction of 30 outputs does not fit into a record of topic 't'"):
        _most_bytes(Answers("t", 1, Sink(5_000)), task)  # type: ignore[arg-type]
