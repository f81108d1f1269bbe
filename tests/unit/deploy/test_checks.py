"""A pipeline's parts: each that is wrong is named when the pipeline is made, with what would be right."""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from torch import nn

from deploy.checks.tasks import check_negative
from deploy.learning.rehearsal import rehearse
from deploy.pipeline import FeedEvent, Labelled, Pipeline
from learners.tasks.task import Task
from shadowstream import (
    Bandit,
    Binary,
    Classes,
    Distill,
    MultiLabel,
    Online,
    Promotion,
    Prune,
    Quantile,
    Quantize,
    Recipe,
    Regression,
)
from streams.errors import ConfigError
from streams.join.policy import JoinPolicy
from tests import small


async def coroutine(_: Any = None) -> None:
    """Answers later."""


def generator(_: Any = None) -> Iterator[nn.Module]:
    """Yields."""
    yield small.net()


class Odd(msgspec.Struct):
    """A field that no JSON has."""

    image: torch.Tensor


class Plain:
    """Derives from nothing."""


def refusal(**parts: Any) -> str:
    with pytest.raises(ConfigError) as raised:
        replace(small.pipeline, **parts)
    assert str(raised.value).isprintable()
    assert len(str(raised.value)) < 500
    return str(raised.value)


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({"feature": small.Point}, "Pipeline has no parameter 'feature'; did you mean 'features'?"),
        ({"modle": small.net}, "Pipeline has no parameter 'modle'; did you mean 'model'?"),
        ({"promote": Promotion()}, "Pipeline has no parameter 'promote'; did you mean 'promotion'?"),
        ({"model": small.net()}, "Pipeline.model must make a new network at each call: model=Sequential, or"),
        ({"model": 3}, "Pipeline.model must be a function that makes a network, got 3"),
        ({"model": None}, "Pipeline.model must be a function"),
        ({"encode": torch.ones(3, 4)}, "Pipeline.encode must be callable, got tensor"),
        ({"request": "json"}, "Pipeline.request must be callable, got 'json'"),
        ({"outcome": {"label": 1}}, "Pipeline.outcome must be callable"),
        ({"features": small.Point((1.0, 2.0, 3.0, 4.0))}, "got Point(x=(1.0, 2.0, 3.0, 4.0)), which is no type"),
        ({"features": "Point"}, "got 'Point', which is no type"),
        ({"features": None}, "Pipeline.features must be a type"),
        ({"features": Plain}, "which is none: derive it from msgspec.Struct"),
        ({"features": Odd}, "whose field 'image' is a Tensor"),
        ({"features": list[Odd]}, "whose field 'image' is a Tensor"),
        ({"task": "binary"}, "Pipeline.task must be a task, such as task=Binary(), got 'binary'"),
        ({"task": "Classes"}, "such as task=Classes(K), got 'Classes'"),
        ({"task": "fast"}, "such as task=Binary(), got 'fast'"),
        ({"task": Binary}, "Pipeline.task must be a task, not its class: task=Binary(...)"),
        ({"task": None}, "or a class of yours with the same members; None has no outputs, target, metrics"),
        ({"recipe": "prune(0.5"}, "Pipeline.recipe: a recipe is a chain like"),
        ({"recipe": "prun(amount=0.5)"}, "Pipeline.recipe: a recipe has no step 'prun'"),
        ({"recipe": 3}, "Pipeline.recipe must be a Recipe(...), or its text such as"),
        ({"recipe": [3]}, "Pipeline.recipe must be a Recipe(...)"),
        ({"recipe": None}, "Pipeline.recipe must be a Recipe(...)"),
        ({"recipe": "prune_structured(amount=0.5)", "history": None}, "and there are none; add Pipeline(history=...)"),
        ({"online": {"batch": 3}}, "Pipeline.online must be Online(...), got {'batch': 3}"),
        ({"online": Online}, "Pipeline.online must be Online(...)"),
        ({"promotion": 7}, "Pipeline.promotion must be Promotion(...), got 7"),
        ({"history": []}, "Pipeline.history must be a function that returns labelled rows, such as"),
        ({"feed": "feed.csv"}, "Pipeline.feed must be a function that returns events"),
        ({"model": nn.Linear}, "Pipeline.model is called with no arguments: missing a required argument"),
        ({"model": coroutine}, "Pipeline.model must be a plain function, without async"),
        ({"encode": lambda: 1}, "Pipeline.encode is called with one argument, a list of features: too many"),
        ({"encode": lambda one, two: 1}, "missing a required argument: 'two'"),
        ({"encode": small.Point}, "Pipeline.encode must be a function that returns a value"),
        ({"request": lambda: 1}, "Pipeline.request is called with one argument, a Record: too many"),
        ({"request": coroutine}, "Pipeline.request must be a plain function, without async"),
        ({"slices": "y"}, "Pipeline.slices: Point has no field 'y'; it has x"),
        ({"slices": ["x", "x.z"]}, "Pipeline.slices: Point has no field 'x.z'; it has x"),
        ({"slices": 3}, "Pipeline.slices must be a field's name, or a list of names, got 3"),
        ({"slices": ["x", 3]}, "Pipeline.slices must be a field's name, or a list of names, got ['x', 3]"),
        ({"outcome": dict}, "Pipeline.outcome must be a function that returns a value, got <class 'dict'>"),
        ({"outcome": generator}, "Pipeline.outcome must be a function that returns a value, got <function"),
        ({"history": lambda path: []}, "Pipeline.history is called with no arguments: missing a required"),
        ({"feed": lambda path: []}, "Pipeline.feed is called with no arguments: missing a required"),
        ({"feed_ends_ms": -1}, "Pipeline.feed_ends_ms must be a time in milliseconds since 1970, got -1"),
        ({"feed_ends_ms": 10**30}, "Pipeline.feed_ends_ms must be a time in milliseconds"),
        ({"feed_ends_ms": 1.5}, "Pipeline.feed_ends_ms must be a whole number or None, got 1.5"),
        ({"seed": -1}, "Pipeline.seed must be at least 0 and below 2**63, got -1"),
        ({"seed": "x"}, "Pipeline.seed must be a whole number, got 'x'"),
        ({"name": "my feed"}, "Pipeline.name must be letters, digits, '-' or '_', got 'my feed'"),
        ({"name": 3}, "Pipeline.name must be text, got 3"),
    ],
)  # fmt: skip
def test_a_wrong_part_is_named(parts: dict[str, Any], said: str) -> None:
    assert said in refusal(**parts)


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: Online(half_life=10**400), "Online.half_life must be a finite number, got 1000"),
        (lambda: Online(batch=10**5000), "Online.batch must be at least 1 and at most 2,147,483,647, got a int"),
        (lambda: Classes(), "Classes needs classes=..."),  # type: ignore[call-arg]
        (lambda: Classes(outputs=3), "Classes has no parameter 'outputs'; it has classes"),  # type: ignore[call-arg]
        (lambda: Classes("3"), "Classes.classes must be a whole number, at least 2, or so many different"),  # type: ignore[arg-type]
        (lambda: Classes(1), "Classes.classes must be a whole number, at least 2, or so many different names, got 1"),
        (lambda: Classes(("cat", "cat")), "so many different names, got ('cat', 'cat')"),
        (lambda: Quantile(90), "Quantile.level must be above 0 and below 1, got 90"),
        (lambda: Regression(delta=0.0), "Regression.delta must be above 0, got 0.0"),
        (lambda: Regression(delta="1"), "Regression.delta must be a finite number, got '1'"),  # type: ignore[arg-type]
        (lambda: Online(learn_rate=3), "Online has no parameter 'learn_rate'; did you mean 'learning_rate'?"),  # type: ignore[call-arg]
        (lambda: Promotion(every_day=3), "Promotion has no parameter 'every_day'; did you mean 'every_days'?"),  # type: ignore[call-arg]
        (lambda: Promotion(alpha="x"), "Promotion.alpha must be a finite number, got 'x'"),  # type: ignore[arg-type]
        (lambda: Pipeline("a"), "Pipeline takes named parameters only, such as Pipeline(name=...)"),  # type: ignore[call-arg]
    ],
)  # fmt: skip
def test_a_wrong_parameter_of_a_part_is_named(make: Any, said: str) -> None:
    with pytest.raises(ConfigError) as raised:
        make()
    assert said in str(raised.value)


def test_a_step_s_unknown_parameter_is_told_the_nearest() -> None:
    steps: Any = Prune
    with pytest.raises(ValueError, match="Prune has no parameter 'amout'; did you mean 'amount'"):
        steps(amout=0.5)


class Wordy(Binary):
    """A task of a user's whose answers are wrong."""

    said: Any

    def answers(self, served: torch.Tensor) -> list[dict[str, Any]]:
        return type(self).said  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        ([{"id": 1}], "must use names of its own: a prediction has id"),
        ({"yes": 1}, "must return a list, a dict for each answer, got {'yes': 1}"),
        ([{"yes": object}], "Pipeline.task.answers: TypeError"),
    ],
)
def test_a_task_s_answers_are_looked_at(answers: Any, said: str) -> None:
    Wordy.said = answers
    assert said in refusal(task=Wordy())


@pytest.mark.parametrize("recipe", ["quantize(int8) -> distill", Quantize("int8"), [Prune(amount=0.5), Distill()], ""])
def test_a_recipe_may_be_text_or_steps(recipe: Any) -> None:
    made = replace(small.pipeline, recipe=recipe).recipe
    assert isinstance(made, Recipe)
    assert made == (Recipe.parse(recipe) if isinstance(recipe, str) else made)


@pytest.mark.parametrize("features", [dict[str, float], list[float], tuple[int, str], float])
def test_features_may_be_any_type_that_json_has(features: Any) -> None:
    assert replace(small.pipeline, features=features).features is features


def row(features: Any = None, label: Any = 1.0) -> Any:
    return lambda: iter([Labelled(small.Point((1.0, 2.0, 3.0, 4.0)) if features is None else features, label)])


def fails(*_: Any) -> Any:
    raise KeyError("mine")


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({"model": lambda: 3}, "Pipeline.model must return a torch.nn.Module, got 3"),
        ({"model": fails}, "Pipeline.model: KeyError: 'mine'"),
        ({"encode": fails}, "Pipeline.encode, called with one row: KeyError: 'mine'"),
        ({"encode": lambda rows: None}, "encode"),
        ({"encode": lambda rows: (torch.ones(5, 4),)}, "encode"),
        ({"encode": lambda rows: (torch.ones(1, 7),)}, "the model does not take"),
        ({"model": lambda: nn.Linear(4, 3)}, "where forward must return a tensor (N, 1) of floats"),
        ({"history": generator}, "history yields Labelled(features, label), got Sequential("),
        ({"feed": generator}, "Pipeline.feed yields FeedEvent(t_ms=milliseconds, topic='requests' or"),
        ({"feed": lambda: [FeedEvent(1.5, "requests", b"a", b"b")]}, "Pipeline.feed yields FeedEvent"),  # type: ignore[arg-type]
        ({"feed": lambda: [FeedEvent(1, "request", b"a", b"b")]}, "got FeedEvent(t_ms=1, topic='request'"),
        ({"feed": lambda: [FeedEvent(1, "requests", "a", b"b")]}, "key=bytes"),  # type: ignore[arg-type]
        ({"history": fails}, "Pipeline.history: KeyError: 'mine'"),
        ({"history": lambda: 3}, "Pipeline.history must return labelled rows, got 3"),
        ({"history": lambda: iter([3])}, "history yields Labelled(features, label), got 3"),
        ({"history": row(features={"x": 1})}, "must be of the type Pipeline.features, Point, got {'x': 1}"),
        ({"history": row(label=7.0)}, "a binary label is 0 or 1, got 7.0"),
        ({"history": row(label="yes")}, "history"),
        ({"feed": fails}, "Pipeline.feed: KeyError: 'mine'"),
        ({"feed": lambda: None}, "Pipeline.feed must return events, got None"),
    ],
)
def test_what_a_function_returns_is_looked_at_before_anything_starts(parts: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError) as raised:
        rehearse(replace(small.pipeline, **parts))
    assert said in str(raised.value)
    assert str(raised.value).isprintable()


class Told(nn.Module):
    """Answers in a dict, as many models of Hugging Face's do."""

    def __init__(self) -> None:
        super().__init__()
        self.line = nn.Linear(4, 1)

    def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        return {"logits": self.line(x)}


class Noisy(nn.Linear):
    """Draws in eval mode too."""

    def __init__(self) -> None:
        super().__init__(4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x) + torch.randn(())


class Carried(nn.Linear):
    """Subtracts a mean that goes on from call to call, in eval mode too."""

    seen: torch.Tensor

    def __init__(self) -> None:
        super().__init__(4, 1)
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.seen = 0.9 * self.seen + 0.1 * x.mean()
        return super().forward(x - self.seen)


def asking(*values: bytes) -> Any:
    return lambda: iter([FeedEvent(n, "requests", b"%d" % n, value) for n, value in enumerate(values)])


@pytest.mark.parametrize(
    ("parts", "said"),
    [
        ({"model": Told, "feed": asking(b'{"x": [1, 2, 3, 4]}')}, "return output['logits'] instead"),
        (
            {"model": Carried, "feed": asking(b'{"x": [1, 2, 3, 4]}')},
            "go on from the call before; changed: seen (a buffer)",
        ),
        ({"model": Noisy, "feed": asking(b'{"x": [1, 2, 3, 4]}')}, "F.dropout needs training=self.training"),
        ({"feed": asking(b"no JSON", b'{"y": 1}')}, "none of the feed's first requests can be answered: "),
        ({"feed": asking(b'{"x": [1, 2, 3, 4]}'), "request": fails}, "KeyError: 'mine'"),
        ({"feed": asking(b"no JSON", b'{"x": [1, 2, 3, 4]}')}, ""),
        ({"feed": asking()}, ""),
    ],
)
def test_without_a_history_the_feed_s_first_requests_are_answered_before_anything_starts(
    parts: dict[str, Any], said: str
) -> None:
    pipeline = replace(small.pipeline, **{"history": None, **parts})
    if not said:
        return rehearse(pipeline)
    with pytest.raises(ConfigError) as raised:
        rehearse(pipeline)
    assert said in str(raised.value)
    assert str(raised.value).isprintable()


def test_what_is_right_passes_and_changes_no_chance(tmp_path: Path) -> None:
    def none() -> Iterator[Labelled]:
        return iter(())

    for pipeline in (small.pipeline, replace(small.pipeline, history=None), replace(small.pipeline, history=none)):
        rehearse(pipeline)


def test_slices_are_names_of_fields_each_once() -> None:
    named = [replace(small.pipeline, slices=slices).slices for slices in ((), "x", ["x", "x"])]
    assert named == [(), ("x",), ("x",)]
    assert replace(small.pipeline, features=dict, slices="any").slices == ("any",)


@pytest.mark.parametrize(
    ("task", "label", "why"),
    [
        (Binary(), 2.0, "join.negative_label = 2: a binary label is 0 or 1, got 2.0; set join.negative_label to"),
        (MultiLabel(3), 0.0, "join.negative_label"),
        (Bandit(2, logged=True), 0.0, "more than a number; report each outcome"),
    ],
)
def test_silence_must_be_a_label_of_the_task(task: Task, label: float, why: str) -> None:
    join = JoinPolicy(absent="negative", negative_label=label)
    with pytest.raises(ConfigError, match=re.escape(why)):
        check_negative(task, join)
    check_negative(task, JoinPolicy())


@pytest.mark.parametrize("task", [Binary(), Classes(3), Classes(("none", "some")), Regression(), Quantile(0.5)])
def test_zero_is_a_label_of_these(task: Task) -> None:
    check_negative(task, JoinPolicy(absent="negative"))
