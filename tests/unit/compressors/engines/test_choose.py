"""The choice of a version's arithmetic: the first in order that is proven, and the reason of each that is not."""

from collections.abc import Sequence

import pytest
import torch
from torch import Tensor, nn

from compressors.engines import choose as choosing
from compressors.engines.arithmetic import Arithmetic, arranged, watch
from compressors.engines.choose import choose, prepared, proven
from compressors.engines.template import Template, export
from compressors.engines.widths import Open
from compressors.errors import EngineError
from tests.serving import Mixed, mixed_rows, served

pytest.importorskip("onnxscript")
pytest.importorskip("onnxruntime")


class Kept:
    """Templates by arithmetic, each exported once, as a registry keeps them."""

    def __init__(self) -> None:
        self.kept: dict[Arithmetic, Template] = {}
        self.exports = 0

    def __call__(
        self, model: nn.Module, inputs: Sequence[Tensor], way: Arithmetic, signed: bool, guard: bool, opened: Open
    ) -> Template:
        assert guard
        assert not any(opened)
        if way not in self.kept:
            self.kept[way] = export(model, inputs, way, signed=signed)
            self.exports += 1
        return self.kept[way]


@pytest.fixture(scope="module")
def kept() -> Kept:
    return Kept()


@pytest.fixture
def _untrained(monkeypatch: pytest.MonkeyPatch) -> None:
    """Allow more: many answers of an untrained net lie next to a decision."""
    monkeypatch.setattr(choosing, "near", lambda difference: None if difference.largest < 0.05 else "too far")


def version(seed: int) -> nn.Module:
    torch.manual_seed(seed)
    return served(Mixed())


@pytest.mark.usefixtures("_untrained")
def test_the_first_way_that_is_proven_is_taken_and_a_second_version_exports_nothing(kept: Kept) -> None:
    for seed in (1, 2):
        model = version(seed)
        choice = choose(model, mixed_rows(4_000), mixed_rows(300), kept)
        assert (choice.arithmetic, choice.rows, dict(choice.refused)) == ("mixed", 300, {})
        assert list(choice.ranges) == ["body.0", "body.3", "out"]
        assert choice.proof == proven(model, choice.run, mixed_rows(300))
        again = prepared(model, choice.template, choice.ranges)
        assert torch.equal(again(*mixed_rows(50)), choice.run(*mixed_rows(50)))
    assert kept.exports == 1


@pytest.mark.usefixtures("_untrained")
def test_few_rows_give_no_ranges(kept: Kept) -> None:
    choice = choose(version(1), mixed_rows(3_999), mixed_rows(50), kept)
    assert choice.arithmetic == "float"
    assert not choice.ranges
    assert choice.refused == {"mixed": "ranges need 4,000 rows, there are 3,999"}


def test_ranges_that_do_not_hold_are_refused(kept: Kept) -> None:
    """The rows that they are proven on are ten times as large."""
    place, rest = mixed_rows(4_000)
    choice = choose(version(1), (place, rest / 10_000), (place[:500], rest[:500] * 50), kept)
    assert choice.arithmetic != "mixed"
    assert "engine and model disagree" in choice.refused["mixed"]


def test_where_nothing_agrees_each_reason_is_said_once(kept: Kept, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(choosing, "near", lambda difference: f"off by {difference.largest >= 0}")
    with pytest.raises(EngineError, match=r"^mixed, float, row8: off by True$"):
        choose(version(1), mixed_rows(4_000), mixed_rows(50), kept)


def test_a_model_that_cannot_be_exported_is_refused_with_the_reason(capfd: pytest.CaptureFixture[str]) -> None:
    class Odd(Mixed):
        def forward(self, place: Tensor, rest: Tensor) -> Tensor:
            return super().forward(place, rest) + float(rest.sum())

    torch.manual_seed(1)
    with pytest.raises(EngineError, match=r"float, row8: this model cannot be exported"):
        choose(served(Odd()), mixed_rows(100), mixed_rows(50))
    assert capfd.readouterr() == ("", "")  # the exporter prints graphs


def test_rows_that_the_engine_cannot_answer_are_a_reason(kept: Kept) -> None:
    def fails(*_: Tensor) -> Tensor:
        raise TypeError("no such input\nand more")

    with pytest.raises(EngineError, match=r"^the rows of the proof cannot be answered: TypeError: no such input$"):
        proven(version(1), fails, mixed_rows(5))


def test_a_layer_without_a_range_is_refused_by_name(kept: Kept) -> None:
    model = version(1)
    seen = watch(model, mixed_rows(50)).ranges
    with pytest.raises(EngineError, match=r"out has no range"):
        arranged(model, "mixed", {name: seen[name] for name in ("body.0", "body.3")}, signed=True)
    assert seen["body.0"].largest >= float(mixed_rows(50)[1].abs().max())
    assert seen["body.0"].negative


class Filled(nn.Module):
    """Reads a missing number as zero, and knows that it was missing."""

    def __init__(self) -> None:
        super().__init__()
        self.out = nn.Linear(6, 1)

    def forward(self, rest: Tensor) -> Tensor:
        out: Tensor = self.out(torch.cat([rest.nan_to_num(0.0).clamp(-10, 10), rest.isnan().to(rest.dtype)], 1).float())
        return out


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_a_model_that_reads_missing_numbers_has_an_engine_that_does(dtype: torch.dtype) -> None:
    torch.manual_seed(1)
    model, rows = served(Filled()), torch.randn(200, 3, dtype=dtype)
    rows[::3, 0], rows[1::5, 2] = torch.nan, torch.inf
    choice = choose(model, (rows,), (rows,))
    assert choice.arithmetic == "float"
    assert torch.allclose(choice.run(rows), model(rows), atol=0.05)  # float for row by row int8


@pytest.mark.usefixtures("_untrained")
def test_one_that_does_not_answers_them_by_nan() -> None:
    choice = choose(version(1), mixed_rows(100), mixed_rows(50))
    place, rest = mixed_rows(4)
    rest[1, 0] = torch.nan
    assert choice.run(place, rest).isnan().flatten(1).any(1).tolist() == [False, True, False, False]
