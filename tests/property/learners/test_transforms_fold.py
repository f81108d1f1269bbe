"""Transforms under any log, cut in any way: equal logs make equal bits, and nothing makes them infinite."""

import math
from collections.abc import Sequence

import msgspec
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import Raw
from torch import Tensor

from deploy.learning.candidates import make_learner
from learners.commits.state import pack_state, unpack_state
from learners.online.learner import Learner
from streams.events import Sample
from tests.transformed import Net, Visit, encode, pipeline, samples

WILD = [None, 0.0, 1e300, -1e300, 5e-324, 1e150, -3.0]
names = st.lists(st.sampled_from([f"w{n}" for n in range(9)]), max_size=4).map(" ".join)
prices = st.sampled_from(WILD) | st.floats(-1e6, 1e6)
visits = st.lists(st.tuples(names, prices, st.booleans()), min_size=1, max_size=60)
cuts = st.lists(st.integers(1, 40), min_size=1, max_size=20)


def log(rows: Sequence[tuple[str, float | None, bool]]) -> list[Sample]:
    made = []
    for one, (name, price, label) in zip(samples(len(rows)), rows, strict=True):
        features = Raw(msgspec.json.encode(Visit(name, price)))
        asked = msgspec.structs.replace(one.prediction, features=features)
        made.append(msgspec.structs.replace(one, label=float(label), prediction=asked))
    return made


def buffers(learner: Learner) -> dict[str, Tensor]:
    """Return what the transforms know, without what waits: that is padded by the longest row of each part."""
    return {n: b for n, b in learner.teacher.model.named_buffers() if not n.endswith(("_rows", "_targets", "_weights"))}


def in_parts(entries: list[Sample], sizes: Sequence[int], again: int) -> Learner:
    """Learn a log in parts; after `again` of them go on in a learner that loads the state, as a restart does."""
    learner, start = make_learner(pipeline), 0
    for n in range(len(entries)):
        if start >= len(entries):
            break
        size = sizes[n % len(sizes)]
        learner.learn(entries[start : start + size])
        start += size
        if n == again:
            resumed = make_learner(pipeline)
            resumed.load(unpack_state(pack_state(learner.state())))
            learner = resumed
    return learner


@settings(max_examples=25)
@given(rows=visits, sizes=cuts, others=cuts, again=st.integers(0, 5))
def test_equal_logs_make_equal_transforms_however_they_are_cut(
    rows: list[tuple[str, float | None, bool]], sizes: list[int], others: list[int], again: int
) -> None:
    entries = log(rows)
    one, other = in_parts(entries, sizes, -1), in_parts(entries, others, again)
    ours, theirs = buffers(one), buffers(other)
    assert ours.keys() == theirs.keys()
    for name, buffer in ours.items():
        assert torch.equal(buffer.nan_to_num(), theirs[name].nan_to_num()), name
        assert not (buffer.isnan().any() and "newest" not in name), name
    for learner in (one, other):
        for parameter in (*learner.teacher.model.parameters(), *learner.shadow.model.parameters()):
            assert parameter.isfinite().all()
    same = in_parts(entries, sizes, again)
    assert pack_state(same.state()) == pack_state(one.state())


@settings(max_examples=25)
@given(rows=visits)
def test_a_row_alone_is_answered_as_among_others(rows: list[tuple[str, float | None, bool]]) -> None:
    learner = in_parts(log(rows), [16], -1)
    model = learner.teacher.model
    assert isinstance(model, Net)
    tokens, numbers = encode([Visit(name, price) for name, price, _ in rows])
    for n, (name, price, _) in enumerate(rows):
        own, number = encode([Visit(name, price)])
        assert torch.equal(model.words(tokens)[n, : own.shape[1]], model.words(own)[0])
        assert torch.equal(model.mean(tokens)[n, : own.shape[1]], model.mean(own)[0])
        assert torch.equal(model.scale(model.cut(numbers))[n], model.scale(model.cut(number))[0])
        assert math.isfinite(float(model.scale(model.cut(number))))
