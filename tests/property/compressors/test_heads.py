"""Artifacts with forged heads: whatever they say, they are refused in a line, at once, or described without harm."""

import copy
import io
import json
from collections.abc import Callable
from hashlib import sha256
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console
from torch import nn

from compressors.artifact.format import Description, describe, floats, load, pack
from compressors.artifact.head import BLANK, MOST_BYTES, members
from compressors.errors import MOST_CHARACTERS, ArtifactError
from compressors.form import training_form
from compressors.recipe import Recipe
from deploy.console.versions import compression

HUGE: tuple[Any, ...] = (10**9, 2**63, 10**30, -1, -(2**63), 0.5, True, None, "4", [], {})


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 1))


ARTIFACT = pack(training_form(net(), Recipe.parse("prune(amount=0.5) -> quantize(int8)")), {"note": "x"})
HEAD = members(ARTIFACT)


def forged(head: Any, data: bytes = ARTIFACT) -> bytes:
    """Return the artifact with another head, and the digest that fits."""
    size = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + size])
    if isinstance(head, dict) and "digest" in head:
        head = {**head, "digest": BLANK}
    header["__metadata__"]["shadowstream"] = head if isinstance(head, str) else json.dumps(head)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    whole = len(text).to_bytes(8, "little") + text + data[8 + size :]
    return whole.replace(BLANK.encode(), sha256(whole).hexdigest().encode(), 1)


def described(data: bytes) -> Description | None:
    """Describe and load; return the description if there is one, None if it was refused in words."""
    made, said = None, ""
    for read in (describe, floats, lambda d: load(d, net)):
        try:
            made = read(data) if read is describe else made
            if read is not describe:
                read(data)
        except ArtifactError as wrong:
            said = str(wrong)
    assert len(said) <= MOST_CHARACTERS
    assert said.isprintable()
    assert made is None or isinstance(made, Description)
    return made


def shown(description: Description) -> str:
    out = io.StringIO()
    compression.show(Console(file=out, width=160, force_terminal=False), description)
    return out.getvalue()


def changed(change: Callable[[dict[str, Any]], object]) -> bytes:
    head = copy.deepcopy(HEAD)
    change(head)
    return forged(head)


def test_the_forge_makes_what_is_read() -> None:
    assert described(forged(HEAD)) is not None
    assert torch.equal(load(forged(HEAD), net)(torch.ones(2, 4)), load(ARTIFACT, net)(torch.ones(2, 4)))


@pytest.mark.parametrize("size", HUGE)
def test_a_shape_that_cannot_be_is_refused_before_anything_is_made(size: Any) -> None:
    data = changed(lambda head: head["weights"]["0.weight"].update(shape=[size, 4]))
    with pytest.raises(ArtifactError):
        load(data, net)
    with pytest.raises(ArtifactError):
        floats(data)


@pytest.mark.parametrize("shape", [[8], [4, 8], [8, 4, 1], [2**20, 2**20], [10**12, 1]])
def test_a_shape_that_is_not_the_models_is_said(shape: list[int]) -> None:
    with pytest.raises(ArtifactError, match=r"0.weight is \[.*the model's \[8, 4\]"):
        load(changed(lambda head: head["weights"]["0.weight"].update(shape=shape)), net)


@pytest.mark.parametrize(
    "change",
    [
        lambda head: head["weights"].update({"9.weight": head["weights"]["0.weight"]}),
        lambda head: head["weights"]["0.weight"].update(inputs={"7.weight": "row"}),
        lambda head: head["weights"]["0.weight"].update(inputs={"0.bias": "row"}),
        lambda head: head["weights"]["0.weight"].update(inputs={"0.weight": "exec"}),
        lambda head: head["weights"]["0.weight"].update(weights="int9000"),
        lambda head: head["weights"]["0.weight"].update(weights="float_power"),
        lambda head: head["weights"]["0.weight"].update(group=10**12),
        lambda head: head["weights"]["0.weight"].update(transposed=True),
        lambda head: head.update(shapes={"0": {"sizes": {"out_features": 10**9}, "tensors": {"weight": [10**9, 4]}}}),
        lambda head: head.update(scale=[0.0, 0.0]),
        lambda head: head.update(scale=[1.0, -1.0]),
        lambda head: head.update(scale=[1.0]),
        lambda head: head.pop("weights"),
        lambda head: head.update(weights={}),
    ],
)
def test_what_is_not_of_this_model_is_refused(change: Callable[[dict[str, Any]], object]) -> None:
    with pytest.raises(ArtifactError):
        load(changed(change), net)


@pytest.mark.parametrize(
    "change",
    [
        lambda head: head["figures"].update(sparsity=7.0),
        lambda head: head["figures"].update(float_bytes=-1),
        lambda head: head["figures"].update(format=3),
        lambda head: head.update(left=["x"]),
        lambda head: head.update(manifest=[]),
    ],
)
def test_what_no_artifact_says_of_itself_is_refused(change: Callable[[dict[str, Any]], object]) -> None:
    with pytest.raises(ArtifactError):
        describe(changed(change))


def test_a_head_of_any_size_is_not_read() -> None:
    claimed = (2**63 - 1).to_bytes(8, "little") + b"{}"
    large = (MOST_BYTES + 1).to_bytes(8, "little") + b" " * (MOST_BYTES + 1)
    for data in (claimed, large):
        with pytest.raises(ArtifactError, match="at most 16,777,216 are read"):
            describe(data)


@pytest.mark.parametrize("depth", [1_000, 100_000])
@pytest.mark.parametrize("opening", ["[", '{"a":'])
def test_a_head_of_any_depth_is_refused(opening: str, depth: int) -> None:
    deep = json.dumps(HEAD)[:-1] + ', "manifest": ' + opening * depth
    for data in (forged(opening * depth), forged(deep), forged(deep + "]" * depth + "}")):
        assert described(data) is None


EVIL = "\x1b[31mred\x1b[0m \x07\r\n\x9b2J \u202egnp.exe [bold]loud[/bold]"


def test_control_characters_are_shown_as_escapes(capsys: pytest.CaptureFixture[str]) -> None:
    def change(head: dict[str, Any]) -> None:
        head["weights"][EVIL] = head["weights"]["0.weight"]
        head["left"] = {EVIL: EVIL}
        head["manifest"] = {EVIL: {EVIL: [EVIL]}, "factory": EVIL, "arguments": {EVIL: EVIL}, "recipe": {EVIL: EVIL}}

    said = shown(describe(changed(change)))
    assert all(c.isprintable() or c == "\n" for c in said)
    assert "\\x1b[31mred" in said
    assert "[bold]loud" in said
    with pytest.raises(ArtifactError) as wrong:
        load(changed(change), net)
    assert str(wrong.value).isprintable()


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8) | st.sampled_from(HUGE),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the path of every part of a JSON value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(p for key, part in inner for p in places(part, (*path, key)))]


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(places(HEAD)[1:]), values)
def test_any_part_of_a_head_may_be_anything(path: tuple[Any, ...], value: Any) -> None:
    head = copy.deepcopy(HEAD)
    part = head
    for key in path[:-1]:
        part = part[key]
    part[path[-1]] = value
    made = described(forged(head))
    if made is not None:
        assert all(c.isprintable() or c == "\n" for c in shown(made))


@settings(max_examples=150, deadline=None)
@given(st.integers(0, len(ARTIFACT) - 1), st.binary(max_size=4), st.integers(0, 8))
def test_any_bytes_may_be_anything(at: int, new: bytes, gone: int) -> None:
    data = ARTIFACT[:at] + new + ARTIFACT[at + gone :]
    assert described(data) is None or data == ARTIFACT
