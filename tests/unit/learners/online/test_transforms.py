"""Transforms by themselves, in front of a network that learns, in artifacts, and in recipes."""

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from msgspec import Raw
from torch import Tensor, nn

from compressors.artifact import format as artifact
from compressors.compress import compress
from compressors.data import Data
from deploy.learning.candidates import distil, make_learner
from deploy.pipeline import Pipeline
from learners.live.settings import Intercept
from learners.online.batches import Encoder
from learners.online.learner import Learner
from learners.online.settings import Online
from learners.online.transforms.numbers import Clip, Standardize
from learners.online.transforms.tabular import Tabular
from learners.online.transforms.tokens import Hash, TargetMean, Vocabulary, token
from learners.tasks.binary import Binary
from learners.tasks.classes import Classes
from streams.errors import ConfigError
from streams.events import Sample
from tests import small
from tests.transformed import Net, Visit, encode, pipeline, samples


def told(transform: Any, rows: Tensor, targets: Tensor | None = None) -> Any:
    transform.follow(rows, targets)
    transform.settle()
    return transform


def test_numbers_are_standardized_by_those_of_batches_before() -> None:
    x = torch.randn(1_000, 3, dtype=torch.float64) * torch.tensor([1e-6, 1.0, 1e6]) + torch.tensor([1e9, 0.0, -5.0])
    scale = Standardize(3)
    assert not scale(x).any()
    for start in range(0, 1_000, 32):
        told(scale, x[start : start + 32])
    z = scale(x)
    assert z.dtype == torch.float32
    assert torch.allclose(z[:, 1:].mean(0), torch.zeros(2), atol=1e-3)
    assert torch.allclose(z[:, 1:].std(0), torch.ones(2), rtol=0.05)
    assert scale(torch.tensor([[math.nan, math.inf, -math.inf]])).tolist() == [[0.0, 10.0, -10.0]]


def test_no_number_is_so_wild_that_the_scale_is_lost() -> None:
    scale = told(Standardize(1), torch.randn(500, 1))
    before = float(scale.scale)
    for wild in (1e30, -1e300, math.inf, math.nan):
        told(scale, torch.full((4, 1), wild, dtype=torch.float64))
    assert scale.scale.isfinite().all()
    assert float(scale.scale) > before / 4
    first = told(Standardize(1), torch.tensor([[1e300], [-1e300]], dtype=torch.float64))
    assert first(torch.tensor([[0.0]])).isfinite().all()


def test_what_never_varies_is_zero() -> None:
    scale = told(told(Standardize(1), torch.full((50, 1), 0.1)), torch.full((3, 1), 0.1))
    assert scale(torch.tensor([[0.1], [7.0]])).tolist() == [[0.0], [0.0]]


def test_numbers_are_cut_at_the_quantiles_of_the_newest() -> None:
    cut = Clip(2, share=0.1, window=160)
    assert cut(torch.tensor([[1e9, -1e9]])).tolist() == [[1e9, -1e9]]
    for start in range(0, 1_000, 10):
        rows = torch.arange(start, start + 10.0)[:, None].expand(10, 2).clone()
        rows[:, 1] = math.nan
        told(cut, rows)
    low, high = cut(torch.tensor([[-1e9, -1e9], [1e9, 1e9]])).tolist()
    assert low == [pytest.approx(855.9), -1e9]  # nothing is known of the second
    assert high == [pytest.approx(983.1), 1e9]


def test_known_tokens_keep_their_rows_and_others_share() -> None:
    words = Vocabulary(3, oov=2)
    told(words, torch.tensor([[token("b"), 0], [token("a"), token("b")]]))
    before = words(torch.tensor([token("b"), token("a")])).tolist()
    assert before == [2, 3]
    told(words, torch.tensor([[token("c"), token("d")], [token("e"), 0]]))
    assert words(torch.tensor([token("b"), token("a"), token("c")])).tolist() == [2, 3, 4]
    others = words(torch.tensor([0, token("d"), token("e")]))
    assert bool((others < 2).all())
    assert others[0] == 0


def test_target_means_are_shrunk_and_know_only_outcomes_that_settled() -> None:
    mean, tokens = TargetMean(smooth=10), torch.tensor([[5], [6]])
    mean.follow(tokens, torch.tensor([1.0, 0.0]))
    assert not mean(tokens).any()
    mean.settle()
    one = mean(tokens)
    assert one.tolist() == [[pytest.approx(1 / 11)], [pytest.approx(-1 / 11)]]
    for _ in range(100):
        told(mean, tokens, torch.tensor([1.0, 0.0]))
    assert mean(torch.tensor([[5], [6], [7], [0]])).flatten().tolist() == pytest.approx([0.91, -0.91, 0, 0], abs=0.01)


@pytest.mark.parametrize(
    ("make", "why"),
    [
        (lambda: Standardize(0), "Standardize.features must be a whole number, at least 1, got 0"),
        (lambda: Clip(1, share=0.5), "Clip.share must be above 0 and below 0.5, got 0.5"),
        (lambda: Hash(1.5), "Hash.buckets must be a whole number"),  # type: ignore[arg-type]
        (lambda: TargetMean(smooth=0), "TargetMean.smooth must be above 0, got 0"),
        (lambda: Standardize(2)(torch.ones(3, 4)), r"Standardize\(2\) takes numbers \(N, 2\), got \(3, 4\)"),
        (lambda: Hash(4)(torch.ones(3)), "Hash takes tokens, an int64 tensor, got torch.float32: make them in encode"),
    ],
)
def test_mistakes_are_named(make: Any, why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        make()


class Twice(nn.Module):
    def __init__(self, at_once: bool) -> None:
        super().__init__()
        self.scale, self.out, self.at_once = Standardize(4), nn.Linear(4, 1), at_once

    def forward(self, x: Tensor) -> Tensor:
        z = self.scale(self.scale(x)) if not self.at_once else self.scale(x[:1]).expand(len(x), 4)
        out: Tensor = self.out(z)
        return out


@pytest.mark.parametrize(("at_once", "why"), [(False, "scale ran twice"), (True, "scale saw 1 rows of 7")])
def test_a_transform_runs_once_on_all_rows(at_once: bool, why: str) -> None:
    encoder = Encoder(small.Point, small.encode)
    learner = Learner(lambda: Twice(at_once), Binary(), encoder, small.pipeline.recipe, Online(), 0)
    with pytest.raises(ConfigError, match=why):
        learner.learn(small.samples(20))


def test_target_means_need_a_target_of_one_number() -> None:
    with pytest.raises(ConfigError, match="TargetMean takes targets of one number: the task has 3 outputs"):
        make_learner(replace(pipeline, model=lambda: Net(3), task=Classes(3), live=Intercept()))


def test_the_shadow_has_the_teacher_s_transforms_and_both_averages_too() -> None:
    learner = make_learner(pipeline)
    learner.learn(samples(100))
    teacher, shadow = learner.teacher, learner.shadow
    found = [teacher.model, teacher.mean, shadow.model, shadow.mean]
    for one in found:
        assert isinstance(one, Net)
        for name, buffer in one.scale.named_buffers():
            assert torch.equal(buffer, learner.teacher.model.scale.get_buffer(name))  # type: ignore[union-attr]
        assert float(one.scale.mean[0]) != 0
        assert int(one.words.known) > 0
    names = learner.state()
    assert "teacher.model.scale.mean" in names
    assert not any(name.startswith(("shadow.model.scale", "shadow.mean.scale")) for name in names)


def test_a_candidate_has_the_transforms_of_its_state_and_no_training_moves_them() -> None:
    learner, chosen = make_learner(pipeline), samples(200)
    learner.learn(chosen)
    before = {k: v.clone() for k, v in learner.teacher.model.named_buffers()}
    made, _, data = distil(pipeline, learner, chosen)
    served = artifact.load(made.artifact, Net)
    kept = {
        name: b for name, b in served.named_buffers() if name.split(".")[-1] not in ("_rows", "_targets", "_weights")
    }
    for name in ("scale.mean", "scale.scale", "cut.low", "cut.high", "words.tokens", "words.places", "mean.sums"):
        assert torch.equal(kept[name], before[name]), name
    assert all(torch.equal(before[k], v) for k, v in learner.teacher.model.named_buffers())
    inputs, _ = data.batch(torch.arange(20))
    assert torch.equal(served(*inputs), made.model(*inputs))


def test_history_is_learned_in_its_order_and_no_row_sees_its_own_outcome() -> None:
    """Names that come once say nothing; a network that saw their own outcomes would answer by them."""
    draw = np.random.default_rng(0)
    labels = torch.tensor(draw.integers(0, 2, 600), dtype=torch.float32)
    rows = [Visit(str(n), 0.0) for n in range(600)]

    class Means(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.mean, self.out = TargetMean(smooth=1), nn.Linear(1, 1)

        def forward(self, tokens: Tensor, numbers: Tensor) -> Tensor:
            out: Tensor = self.out(self.mean(tokens[:, :1]))
            return out

    online = Online(history_passes=10, history_batch=60, learning_rate=0.01)
    learner = Learner(Means, Binary(), Encoder(Visit, encode), pipeline.recipe, online, 0)
    began = float(learner.teacher.model.out.weight)  # type: ignore[union-attr,arg-type]
    learner.study(Data(encode(rows), labels))
    model: Any = learner.teacher.model
    assert float(model.out.weight) == pytest.approx(began, abs=0.05)
    assert float(model.mean.all[0]) == pytest.approx(600, rel=0.01)
    again = TargetMean(smooth=1)
    for chosen in torch.split(torch.arange(600), online.history_batch):
        again.follow(encode(rows)[0][chosen][:, :1], labels[chosen])
        again.settle()
    assert torch.equal(again.sums, model.mean.sums)


def test_units_are_removed_and_masks_refreshed_around_transforms() -> None:
    data = Data(encode([Visit(str(n % 7), float(n)) for n in range(300)]), torch.arange(300) % 2.0)
    made = compress(
        Net(), "prune_structured(amount=0.3) -> distill -> prune(amount=0.5) -> quantize(int8)", data, Binary()
    )
    assert made.model(*data.batch(torch.arange(5))[0]).isfinite().all()


class Row(msgspec.Struct):
    name: str
    hour: int | None
    price: float | None
    paid: bool = False


def test_the_usual_network_reads_fields_by_their_types() -> None:
    tabular = Tabular(Row, 2)
    rows = [Row("a", 3, 1.5), Row("one two three four five six", 300, None, True), Row("", None, math.nan)]
    tokens, numbers, words = tabular.encode(rows)
    assert tokens.shape == (3, 3)
    assert numbers.nan_to_num(-1).tolist() == [[3, 1.5], [300, -1], [-1, -1]]
    assert tokens[0, 2] == token("hour=3")
    assert tokens[1, 2] == tokens[2, 2] == token("hour")
    assert words.shape == (3, 6)
    assert (words[1] > 0).all()
    output = tabular.model()(tokens, numbers, words)
    assert output.shape == (3, 2)
    assert output.isfinite().all()


def test_a_pipeline_of_its_features_alone_learns() -> None:
    plain = Pipeline(name="plain", features=Row, seed=1)
    assert _outputs(replace(plain, name="other")) == 1
    assert _outputs(replace(plain, task=Classes(3), live=Intercept())) == 3
    learner, draw = make_learner(plain), np.random.default_rng(0)
    answered, labels = [], []
    for n in range(60):
        part = []
        for one in small.samples(32, start=32 * n):
            price = float(draw.normal() * 1e5)
            label = float(draw.random() < 1 / (1 + math.exp(-3 * price / 1e5)))
            features = Raw(msgspec.json.encode(Row("abc"[n % 3], n, price)))
            part.append(msgspec.structs.replace(one, label=label, prediction=_asked(one, features)))
            labels.append(label)
        answered.append(learner.learn(part)[:, 0])
    target = torch.tensor(labels)
    losses = Binary().losses(torch.cat(answered)[:, None], target)
    assert float(losses[-640:].mean()) < 0.55


def _outputs(made: Pipeline) -> int:
    return made.model()(*made.encode([Row("a", 3, 1.5)])).shape[1]  # type: ignore[no-any-return]


def _asked(sample: Sample, features: Raw) -> Any:
    return msgspec.structs.replace(sample.prediction, features=features)


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"model": lambda: nn.Linear(2, 1)}, "belong together: give both, or neither"),
        ({"encode": encode}, "belong together: give both, or neither"),
    ],
)
def test_model_and_encode_are_given_both_or_neither(given: dict[str, Any], why: str) -> None:
    with pytest.raises(ConfigError, match=why):
        Pipeline(name="half", features=Row, **given)


def test_features_that_cannot_be_read_by_type_need_an_encoder() -> None:
    class Matrix(msgspec.Struct):
        values: Sequence[float]

    with pytest.raises(ConfigError, match="it goes without them where a field"):
        Pipeline(name="matrix", features=Matrix)
