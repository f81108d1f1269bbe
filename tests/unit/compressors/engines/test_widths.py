"""Rows that differ in length: their dimensions are open in a template, which is proven on batches of several widths."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from compressors.answers import answers
from compressors.artifact.parity import parity
from compressors.engines.arithmetic import arranged
from compressors.engines.choose import Choice, choose
from compressors.engines.template import export, key
from compressors.engines.widths import Width, as_asked, batches, opened, within
from compressors.errors import EngineError
from compressors.rows import Batch, Collated, Fixed, as_batch, encoded
from tests import ragged
from tests.ragged import Reader
from tests.serving import served

pytest.importorskip("onnxscript")
pytest.importorskip("onnxruntime")

FORWARD = ("ids", "mask")
OPEN, NONE = ((1,), (1,)), ((), ((), ()))


def rows(some: Sequence[str]) -> Fixed | Collated:
    made = encoded(some, ragged.encode, FORWARD)
    assert isinstance(made, Fixed | Collated)
    return made


def batch(*some: str) -> Batch:
    return as_batch(ragged.encode(some), len(some), "encode", FORWARD)


@pytest.fixture(scope="module")
def chosen() -> tuple[nn.Module, Choice]:
    torch.manual_seed(1)
    model = served(Reader())
    return model, choose(model, rows(ragged.texts(300)), rows(ragged.texts(200, least=3, seed=1)))


def test_a_batch_of_any_width_is_answered_by_one_template(chosen: tuple[nn.Module, Choice]) -> None:
    model, choice = chosen
    assert choice.arithmetic == "row8"
    assert choice.widths == (Width(0, 1, 1, 40), Width(1, 1, 1, 40))
    assert choice.proof.mean < 1e-6
    assert choice.rows == 202  # and the shortest and longest of those seen
    for width in (1, 2, 7, 40, 90):
        for others in ((), ("ab",), ("abc",) * 5):
            made = batch("f" * width, *others)
            assert torch.allclose(choice.run(*made), model(*made), atol=1e-5)
    some = Collated(ragged.texts(100, seed=2), ragged.encode, FORWARD)
    assert torch.allclose(answers(choice.run, some), answers(model, some), atol=1e-5)


def test_rows_keep_what_they_were_encoded_from_where_a_few_come_out_narrower() -> None:
    some = ragged.texts(50)
    made = rows(some)
    assert isinstance(made, Fixed)
    assert made.source is not None
    for part, own in ((made.between(3, 9), some[3:9]), (made.at(torch.tensor([7, 2])), [some[7], some[2]])):
        assert part.source is not None
        assert list(part.source.rows) == own
        assert torch.equal(part.source.batch()[0], batch(*own)[0])
        assert part.tensors[0].shape[1] == 40
    assert as_asked(made) is made.source
    even = encoded(some, lambda some: torch.tensor([[float(len(one)), 1.0] for one in some]))
    assert isinstance(even, Fixed)
    assert even.source is None


def test_a_proof_has_batches_of_all_sizes_and_the_shortest_and_longest_alone() -> None:
    seen, fresh = (as_asked(rows(ragged.texts(n, least, most))) for n, least, most in ((90, 1, 30), (100, 4, 50)))
    made = batches(seen, fresh, 80)
    assert [t.shape[1] for t, _ in made[:4]] == [1, 30, 4, 50]
    assert [len(t) for t, _ in made[4:]] == [1, 2, 8, 64, 1, 2]
    assert sum(len(t) for t, _ in made) == 82


@pytest.mark.parametrize(
    ("made", "why"),
    [
        ([(torch.zeros(1, 3),), (torch.zeros(2, 3), torch.zeros(2))], "2-D float32 and 2-D float32, 1-D float32$"),
        ([(torch.zeros(1, 3),), (torch.zeros(2, 3).long(),)], "encode makes 2-D float32 and 2-D int64$"),
    ],
)
def test_rows_that_differ_by_more_than_sizes_are_refused(made: list[Batch], why: str) -> None:
    with pytest.raises(EngineError, match=why):
        opened(made)


def test_within_is_of_each_open_dimension() -> None:
    widths = (Width(0, 1, 2, 5), Width(1, 2, 1, 9))
    for sizes, held in (((2, 1), True), ((5, 9), True), ((1, 9), False), ((6, 1), False), ((3, 10), False)):
        assert within(widths, (torch.zeros(1, sizes[0]), torch.zeros(1, 4, sizes[1]))) == held
    assert not within(widths, (torch.zeros(1, 3),))


def test_a_key_is_of_no_open_width(chosen: tuple[nn.Module, Choice]) -> None:
    model, wide, narrow = chosen[0], batch("f" * 17, "a"), batch("fa", "a")
    keys = {key(model, made, "row8", signed=True, opened=OPEN) for made in (wide, narrow)}
    closed = {key(model, made, "row8", signed=True, opened=none) for made in (wide, narrow) for none in NONE}
    assert (len(keys), len(closed)) == (1, 2)
    assert not keys & closed


@pytest.mark.long
def test_a_template_depends_on_no_width(chosen: tuple[nn.Module, Choice]) -> None:
    template = chosen[1].template
    ready = arranged(chosen[0], "row8", {}, signed=template.signed)
    assert export(ready, batch("fa", "a"), "row8", signed=template.signed, opened=OPEN) == template


# ── Other models ────────────────────────────────────────────────────────────────────────────────────────────────────


class Pair(nn.Module):
    """A title and frames of numbers, each of its own length: means of embeddings, and of a convolution over time."""

    def __init__(self) -> None:
        super().__init__()
        self.words, self.heard, self.out = nn.Embedding(9, 4), nn.Conv1d(3, 5, 3, padding=1), nn.Linear(9, 2)

    def forward(self, title: Tensor, frames: Tensor) -> Tensor:
        heard = torch.relu(self.heard(frames.transpose(1, 2))).mean(2)
        out: Tensor = self.out(torch.cat([self.words(title).mean(1), heard], 1))
        return out


class Last(Pair):
    """The same with the last state of a GRU."""

    def __init__(self) -> None:
        super().__init__()
        self.gru = nn.GRU(3, 5, batch_first=True)

    def forward(self, title: Tensor, frames: Tensor) -> Tensor:
        out: Tensor = self.out(torch.cat([self.words(title).mean(1), self.gru(frames)[0][:, -1]], 1))
        return out


class Pooled(nn.Module):
    """The mean of letters by a mask of floats."""

    def __init__(self) -> None:
        super().__init__()
        self.names, self.out = nn.Embedding(32, 8), nn.Linear(8, 1)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        out: Tensor = self.out((self.names(ids) * mask[..., None]).sum(1) / mask.sum(1, keepdim=True))
        return out


def lengths(n: int, seed: int) -> list[tuple[int, int]]:
    found = torch.randint(1, 30, (n, 2), generator=torch.Generator().manual_seed(seed)).tolist()
    return [(a, b) for a, b in found]


def pairs(some: Sequence[tuple[int, int]]) -> Batch:
    wide, long = (max(one) for one in zip(*some, strict=True))
    titles = torch.zeros(len(some), wide, dtype=torch.int32)
    frames = torch.zeros(len(some), long, 3)
    for i, (w, n) in enumerate(some):
        titles[i, :w], frames[i, :n] = torch.arange(w) % 9, torch.linspace(-1, 1, 3 * n).reshape(n, 3)
    return titles, frames


def masked(some: Sequence[str]) -> dict[str, Tensor]:
    made = ragged.encode(some)
    return made | {"mask": made["mask"].float()}


@pytest.mark.parametrize("kind", [Pair, pytest.param(Last, marks=pytest.mark.long)])
def test_inputs_may_differ_in_dimensions_of_their_own(kind: type[nn.Module]) -> None:
    torch.manual_seed(1)
    model = served(kind())
    choice = choose(model, Collated(lengths(200, 1), pairs), Collated(lengths(300, 2), pairs))
    assert [(one.input, one.dimension) for one in choice.widths] == [(0, 1), (1, 1)]
    for one in ([(1, 29)], [(29, 1), (3, 3)], [(5, 5)]):
        assert torch.allclose(choice.run(*pairs(one)), model(*pairs(one)), atol=0.02)  # float for int8


@pytest.mark.long
def test_a_mask_of_floats_is_guarded_at_any_width() -> None:
    torch.manual_seed(1)
    model = served(Pooled())
    made = encoded(ragged.texts(300), masked, FORWARD)
    choice = choose(model, made, made)
    ids, mask = as_batch(masked(["abc", "a" * 30, "b"]), 3, "encode", FORWARD)
    assert parity(model, choice.run, (ids, mask)).mean < 5e-3
    mask[1, 2] = torch.nan
    assert choice.run(ids, mask)[:, 0].isnan().tolist() == [False, True, False]


class Counted(Pooled):
    """Its export knows one width: a number of Python's."""

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        return super().forward(ids, mask) * (1 + 1 / int(ids.shape[1]))


class Halves(Pooled):
    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        return super().forward(ids, mask.float())


def halved(some: Sequence[str]) -> dict[str, Tensor]:
    made = ragged.encode(some)
    return made | {"mask": made["mask"].bfloat16()}


@pytest.mark.parametrize(
    ("kind", "make", "why"),
    [
        pytest.param(
            *(Counted, masked, "^float: its rows differ in width, and its export computes one width alone$"),
            marks=pytest.mark.long,
        ),
        (Halves, halved, "input 1 is bfloat16, which onnxruntime cannot be given"),
    ],
)
def test_a_model_that_no_engine_can_run_at_any_width_says_why(
    kind: type[nn.Module], make: Callable[[Sequence[str]], Any], why: str
) -> None:
    made = encoded(ragged.texts(100), make, FORWARD)
    with pytest.raises(EngineError, match=why):
        choose(kind().eval().requires_grad_(requires_grad=False), made, made)
