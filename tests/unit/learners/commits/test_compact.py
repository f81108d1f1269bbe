"""The bytes of states: any state comes back bit for bit; masks, zeros and what does not learn take little."""

import hashlib
from collections.abc import Mapping
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from learners.commits.compact import MAGIC, pack, unpack
from learners.commits.state import pack_state
from streams.errors import CommitError

KINDS = [torch.float32, torch.float64, torch.bfloat16, torch.int64, torch.uint8, torch.bool]
SHAPES = [(), (0,), (3, 0), (7,), (40, 30), (5, 300)]
FILLS = ["noise", "mask", "few", "zeros", "ones", "minus zeros", "odd"]


def tensor(kind: torch.dtype, shape: tuple[int, ...], fill: str) -> Tensor:
    noise = 100 * torch.rand(shape, dtype=torch.float64)
    if fill in ("mask", "few"):
        noise = (noise < 30).double() * (noise if fill == "few" else 1)
    elif fill != "noise":
        noise = torch.full(shape, {"zeros": 0.0, "ones": 1.0, "minus zeros": -0.0, "odd": 7.0}[fill], dtype=noise.dtype)
    made = noise.to(kind)
    if fill == "odd" and made.is_floating_point() and made.numel():
        made.view(-1)[-1] = torch.nan
        made.view(-1)[0] = -torch.inf
    return made


def same(one: Mapping[str, Tensor], other: Mapping[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(bits(one[name]) == bits(other[name]) for name in one)


def bits(one: Tensor) -> tuple[Any, ...]:
    data = one.contiguous().reshape(-1).view(torch.uint8).tolist() if one.numel() else []
    return one.dtype, one.shape, data


@settings(max_examples=60, deadline=None)
@given(
    of=st.lists(st.tuples(st.sampled_from(KINDS), st.sampled_from(SHAPES), st.sampled_from(FILLS)), max_size=6),
    frozen=st.sets(st.integers(0, 5)),
    seed=st.integers(0, 9),
)
def test_any_state_comes_back_bit_for_bit_and_its_order_is_not_in_its_bytes(
    of: list[tuple[torch.dtype, tuple[int, ...], str]], frozen: set[int], seed: int
) -> None:
    torch.manual_seed(seed)
    state = {f"a.{n}": tensor(*one) for n, one in enumerate(of)}
    apart = dict[str, bytes]()

    def keep(data: bytes) -> str:
        digest = hashlib.sha256(data).hexdigest()
        apart[digest] = data
        return digest

    names = {f"a.{n}" for n in frozen}
    data = pack(state, names, keep)
    assert same(unpack(data, apart.__getitem__), state)
    assert pack(dict(reversed(state.items())), names, keep) == data
    for one in unpack(data, apart.__getitem__).values():
        one.zero_()  # it is the reader's own
    assert same(unpack(data, apart.__getitem__), state)
    assert same(unpack(pack_state(state)), state), "a state of an older release"


def test_tensors_that_share_memory_or_are_views_come_back_whole() -> None:
    whole = torch.arange(600.0).reshape(20, 30)
    state = {"tied": whole, "again": whole, "turned": whole.t(), "part": whole[3:9, ::2]}
    assert same(unpack(pack(state)), state)


def test_masks_and_zeros_take_little_and_what_does_not_learn_is_kept_once() -> None:
    torch.manual_seed(0)
    weight, mask = torch.randn(100, 100), (torch.rand(100, 100) < 0.3).float()
    assert len(pack({"w": weight})) > 40_000
    assert len(pack({"m": mask})) < 40_000 / 32 + 100
    assert len(pack({"v": weight * mask})) < 0.5 * 40_000
    assert len(pack({"t": torch.zeros(1_000, 1_000)})) < 1_000
    kept = list[bytes]()

    def keep(data: bytes) -> str:
        kept.append(data)
        return "digest"

    small = pack({"w": weight, "b": torch.ones(10)}, {"w", "b"}, keep)
    assert len(small) < 300
    assert kept == [weight.numpy().tobytes()], "a few numbers are not worth an object"


def test_bytes_that_are_no_state_say_so() -> None:
    data = pack({"w": torch.randn(10, 10), "z": torch.zeros(100, 100), "m": torch.tensor([1.0, 0.0]).repeat(100)})
    for cut in range(len(MAGIC), len(data), 7):
        with pytest.raises(CommitError, match="not a state"):
            unpack(data[:cut])
    with pytest.raises(CommitError, match="not a state: 5"):
        unpack(data + b"more")
    with pytest.raises(CommitError, match="newer release"):
        unpack(b"sstate2\n" + data[len(MAGIC) :])
    with pytest.raises(CommitError, match="w is kept elsewhere"):
        unpack(pack({"w": torch.randn(40, 40)}, {"w"}, lambda data: "digest"))
