"""Faults of a user's own expert, named; and states that hold what is not to be made."""

import os
import pickle
from collections.abc import Callable, Mapping, Sequence
from fractions import Fraction
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from torch import Tensor

from learners.live.compiled import Doubles
from learners.live.experts import checked
from learners.live.experts.checked import Checked
from learners.live.experts.pickled import pickled, unpickled
from learners.live.make import pool
from learners.live.settings import Live
from streams.errors import ConfigError


class Own:
    """An expert that says `said`, keeps what it learns, and has a state of so many numbers."""

    names: Any = ("own",)
    said: Any = 0.5
    numbers = 1

    def __init__(self) -> None:
        self.learned: list[tuple[Any, float, float]] = []

    def answer(self, rows: Sequence[Any]) -> Any:
        return np.full((len(rows), 1), self.said)

    def learn(self, rows: Sequence[Any], labels: Doubles, weights: Doubles) -> None:
        self.learned += zip(rows, labels.tolist(), weights.tolist(), strict=True)

    def state(self) -> dict[str, Tensor]:
        return {"numbers": torch.zeros(self.numbers)}

    def load(self, state: Mapping[str, Tensor]) -> None:
        self.numbers = len(state["numbers"])


class Follows(Own):
    """It says itself what changed."""

    def changes(self, *, whole: bool) -> dict[str, Tensor]:
        return {"whole": torch.tensor(whole)}

    def follow(self, changes: Mapping[str, Tensor]) -> None:
        self.said = float(changes["whole"])


class Row(msgspec.Struct):
    """A place."""

    place: str


def own(**members: Any) -> Checked:
    return Checked(type("Changed", (Own,), members), 1)


def raising(*_: Any) -> Any:
    raise ValueError("no such thing")


WHO = r"the expert 'own' of Live.experts\[1\] "


@pytest.mark.parametrize(
    ("member", "call", "raised"),
    [
        ("answer", lambda expert: expert.answer(["a"]), "raised ValueError in answer: no such thing"),
        ("learn", lambda expert: expert.learn(["a"], np.ones(1), np.ones(1)), "raised ValueError in learn"),
        ("state", lambda expert: expert.state(), "raised ValueError in state"),
        ("state", lambda expert: expert.changes(whole=True), "raised ValueError in state"),
        ("load", lambda expert: expert.load({}), "raised ValueError in load"),
        ("load", lambda expert: expert.follow({}), "raised ValueError in load"),
    ],
)
def test_what_an_expert_raises_names_it(member: str, call: Callable[[Checked], Any], raised: str) -> None:
    with pytest.raises(ConfigError, match=WHO + raised):
        call(own(**{member: raising}))


@pytest.mark.parametrize(
    ("answer", "wrong"),
    [
        (lambda self, rows: np.zeros(len(rows)), r"shape \(2,\); they must be of shape \(2, 1\)"),
        (lambda self, rows: np.zeros((1, 1)), r"shape \(1, 1\); they must be of shape \(2, 1\)"),
        (lambda self, rows: [["a"], ["b"]], r"answered \[\['a'\], \['b'\]\]; it must be logits of shape \(2, 1\)"),
        (lambda self, rows: None, r"shape \(\); they must be of shape \(2, 1\)"),
        (lambda self, rows: np.array([[0.0], [np.nan]]), r"answered \[nan\] to 'b'; a logit must be finite"),
        (lambda self, rows: np.array([[-np.inf], [0.0]]), r"answered \[-inf\] to 'a'; a logit must be finite"),
    ],
)
def test_an_answer_that_is_none_is_refused(answer: Callable[..., Any], wrong: str) -> None:
    with pytest.raises(ConfigError, match=WHO + ".*" + wrong):
        own(answer=answer).answer(["a", "b"])


@pytest.mark.parametrize("state", [None, [torch.zeros(1)], {"numbers": 1.0}])
def test_a_state_that_is_none_is_refused(state: Any) -> None:
    with pytest.raises(ConfigError, match=WHO + "returned .* as its state; it must be a dict of tensors"):
        own(state=lambda self: state).state()


@pytest.mark.parametrize(
    ("make", "wrong"),
    [
        (raising, "raised ValueError when it was made"),
        (lambda: 3, "made 3, which has no names; an expert has names, answer, learn, state, load"),
        (type("Bare", (), {"names": ("own",)}), "has no answer"),
        (type("Text", (Own,), {"names": "own"}), r"names must be a tuple of texts, as \('river',\), got 'own'"),
        (type("Empty", (Own,), {"names": ()}), r"names must be a tuple of texts"),
    ],
)
def test_what_is_no_expert_is_refused_when_it_is_made(make: Callable[[], Any], wrong: str) -> None:
    with pytest.raises(ConfigError, match=r"^Live.experts\[0\]:? .*" + wrong):
        pool(Live(experts=[make]), Row)


def test_it_learns_what_has_a_label_and_a_weight() -> None:
    expert = Own()
    labels, weights = np.array([1.0, np.nan, 0.0, 7.0, 1.0]), np.array([1.0, 1.0, 0.0, 2.0, np.inf])
    Checked(lambda: expert, 0).learn("abcde", labels, weights)
    assert expert.learned == [("a", 1.0, 1.0), ("d", 1.0, 2.0)]


def test_servers_get_what_changed_or_the_whole_state() -> None:
    assert own().changes(whole=False).keys() == {"numbers"}
    theirs = Checked(Follows, 0)
    theirs.follow(theirs.changes(whole=True))
    assert theirs.answer(["a"]) == 1.0


def test_a_state_that_servers_cannot_follow_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(checked, "MOST_BYTES", 4_000)
    assert own(numbers=1_000).changes(whole=True)
    with pytest.raises(ConfigError, match=f"the state of {WHO}has 4,004 bytes, .* at most 4,000 are sent: let it keep"):
        own(numbers=1_001).changes(whole=True)
    assert own(numbers=1_001).state()  # a commit holds it


def test_equal_models_make_equal_bytes_whatever_texts_they_share() -> None:
    shared, apart = "".join(["a", "b"]), "".join(["a", "b"])
    assert shared is not apart
    assert pickle.dumps([shared, shared]) != pickle.dumps([shared, apart])
    assert pickled([shared, shared]).equal(pickled([shared, apart]))
    assert unpickled(pickled([shared, apart, ""])) == ["ab", "ab", ""]


@pytest.mark.parametrize("model", [os.system, eval, Fraction(1, 3)], ids=["system", "eval", "Fraction"])
def test_a_state_makes_only_classes_of_packages_that_were_named(model: Any) -> None:
    with pytest.raises(ConfigError, match=r"^unpickled: the state holds .* only classes of 'river' are made"):
        unpickled(pickled(model), "river")


@pytest.mark.parametrize("name", ["os", "os.system"])
def test_what_a_package_has_imported_is_none_of_its_classes(name: str) -> None:
    data = b"\x80\x04\x8c\x06shutil\x8c" + bytes([len(name)]) + name.encode() + b"\x93."  # the pickle of shutil.os, …
    with pytest.raises(ConfigError, match=rf"the state holds shutil\.{name}"):
        unpickled(torch.frombuffer(bytearray(data), dtype=torch.uint8), "shutil")
