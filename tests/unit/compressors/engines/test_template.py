"""Templates: exported once, they answer with any version's tensors as that version's own export does, bit for bit."""

import copy
import math
from functools import cache
from itertools import product

import pytest
import torch
from torch import Tensor, nn

from compressors.artifact import format as artifact
from compressors.artifact.parity import parity
from compressors.engines import template as templates
from compressors.engines.arithmetic import Arithmetic, Watched, arranged, signed_is_exact, watch, ways
from compressors.engines.choose import choose
from compressors.engines.engine import Session
from compressors.engines.fastest import near
from compressors.engines.onnx import trace
from compressors.engines.template import Template, export, key, read, session
from compressors.errors import EngineError
from compressors.form import training_form
from compressors.quantization.int8 import Int8Linear, constant
from compressors.recipe import Recipe
from tests.serving import Mixed, cnn, encoder, image_rows, mixed_rows, served, token_rows

pytest.importorskip("onnxscript")
pytest.importorskip("onnxruntime")

WAYS: tuple[Arithmetic, ...] = ("mixed", "float", "row8")
SIGNED = signed_is_exact()


@cache
def version(seed: int, width: int = 33) -> tuple[nn.Module, Watched]:
    torch.manual_seed(seed)
    model = served(Mixed(width))
    return model, watch(model, mixed_rows(512))


def arrange(way: Arithmetic, seed: int = 1, width: int = 33, *, signed: bool = SIGNED) -> nn.Module:
    model, watched = version(seed, width)
    return arranged(model, way, watched.ranges, signed=signed)


@cache
def template(way: Arithmetic, width: int = 33, *, signed: bool = SIGNED) -> Template:
    return export(arrange(way, 1, width, signed=signed), mixed_rows(4), way, signed=signed)


@cache
def ready(way: Arithmetic, *, signed: bool = SIGNED) -> Session:
    return session(template(way, signed=signed), arrange(way, signed=signed))


class Whole(nn.Module):
    """A model with the template's guard, to be exported with its weights."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, *rows: Tensor) -> Tensor:
        return templates._guarded(self.model(*rows), rows)


@pytest.mark.parametrize("way", WAYS)
def test_a_template_with_a_versions_tensors_is_that_versions_export(way: Arithmetic) -> None:
    """The template is of version 1."""
    for seed in (1, 2):
        made = arrange(way, seed)
        whole = Session(trace(Whole(made).eval(), mixed_rows(4)).SerializeToString())
        ours = session(template(way), made)
        for n in (1, 7, 200):
            assert torch.equal(ours(*mixed_rows(n)), whole(*mixed_rows(n)))


def test_a_models_units_may_be_removed() -> None:
    made = arrange("mixed", 2, width=17)
    proof = parity(version(2, 17)[0], session(template("mixed", 17), made), mixed_rows(200))
    assert proof.largest < 0.05
    refusal = r"body\.0\.weight is float32 \[17, 11\]: the template needs float32 \[33, 11\]"
    with pytest.raises(EngineError, match=refusal):
        session(template("mixed"), made)


@pytest.mark.parametrize("way", WAYS)
def test_a_template_depends_on_no_weight(way: Arithmetic) -> None:
    """And on no path of the machine that made it."""
    again = export(arrange(way, 2), mixed_rows(7), way, signed=SIGNED)
    assert again.pack() == template(way).pack()
    assert again.digest() == template(way).digest()
    assert b".py" not in again.pack()
    assert len(again.pack()) < 20_000


@pytest.mark.parametrize("way", WAYS)
def test_answers_are_near_the_artifacts(way: Arithmetic) -> None:
    proof = parity(version(1)[0], ready(way), mixed_rows(500))
    assert proof.mean < (1e-6 if way == "row8" else 5e-3)
    assert proof.largest < 0.05


@pytest.mark.parametrize("way", ["mixed", "row8"])
def test_unsigned_weights_answer_as_signed_ones(way: Arithmetic) -> None:
    if not SIGNED:
        pytest.skip("signed weights are not exact on this processor")
    assert torch.equal(ready(way, signed=False)(*mixed_rows(200)), ready(way)(*mixed_rows(200)))


@pytest.mark.parametrize("way", WAYS)
def test_a_row_is_the_same_alone_and_among_others(way: Arithmetic) -> None:
    rows, run = mixed_rows(512), ready(way)
    together = run(*rows)
    for n in (1, 8, 64):
        parts = [run(*(t[i : i + n] for t in rows)) for i in range(0, 512, n)]
        assert torch.equal(torch.cat(parts), together)


@pytest.mark.parametrize(("way", "bad"), list(product(WAYS, [math.nan, math.inf, -math.inf])))
def test_a_row_that_is_not_finite_shows_and_stays_alone(way: Arithmetic, bad: float) -> None:
    rows, run = mixed_rows(64), ready(way)
    clean = run(*rows)
    rows[1][3, 2] = bad
    others = torch.arange(64) != 3
    assert not run(*rows)[3].isfinite().any()
    assert torch.equal(run(*rows)[others], clean[others])
    assert not run(rows[0][3:4], rows[1][3:4]).isfinite().any()


def test_a_tensor_that_does_not_fit_is_refused_by_name() -> None:
    model = copy.deepcopy(arrange("float"))
    model.get_submodule("out").weight = constant(torch.zeros(3, 33, dtype=torch.float64))
    with pytest.raises(EngineError, match=r"out\.weight is float64 \[3, 33\]: the template needs float32 \[3, 33\]"):
        session(template("float"), model)
    model.get_submodule("out").register_parameter("weight", None)
    with pytest.raises(EngineError, match=r"out\.weight is missing: the template needs float32"):
        session(template("float"), model)


def test_a_tensor_of_a_type_that_numpy_lacks_is_refused() -> None:
    model = copy.deepcopy(arrange("float"))
    model.get_submodule("out").weight = constant(torch.zeros(3, 33, dtype=torch.bfloat16))
    with pytest.raises(EngineError, match=r"out\.weight is bfloat16 \[3, 33\]: the template needs float32 \[3, 33\]"):
        session(template("float"), model)
    with pytest.raises(EngineError, match=r"cannot be exported: .*BFloat16"):
        export(model, mixed_rows(4), "float", signed=SIGNED)


def test_signed_weights_are_refused_where_they_are_not_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    made, signed = arrange("row8", signed=True), template("row8", signed=True)
    monkeypatch.setattr(templates, "signed_is_exact", lambda: False)
    with pytest.raises(EngineError, match="does not multiply exactly"):
        session(signed, made)


@pytest.mark.parametrize("package", ["onnxscript", "onnxruntime"])
def test_what_is_not_installed_is_named(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    made = template("float")
    monkeypatch.setattr(templates, "find_spec", lambda name: None if name == package else name)
    with pytest.raises(EngineError, match=f"not installed: {package}"):
        session(made, arrange("float")) if package == "onnxruntime" else export(
            arrange("float"), mixed_rows(2), "float", signed=SIGNED
        )


def test_a_template_comes_back_from_its_bytes_and_others_are_refused() -> None:
    assert read(template("mixed").pack()) == template("mixed")
    with pytest.raises(EngineError, match="not a template"):
        read(b"something else")
    broken = (
        copy.replace(template("float"), onnx=b"no file")
        if hasattr(copy, "replace")
        else Template(arithmetic="float", signed=SIGNED, places={}, onnx=b"no file")
    )
    with pytest.raises(EngineError, match="onnxruntime refuses the template"):
        session(broken, arrange("float"))


def test_a_key_is_of_the_architecture_and_not_of_the_weights() -> None:
    rows = mixed_rows(4)
    ours = key(arrange("mixed"), rows, "mixed", signed=SIGNED)
    assert key(arrange("mixed", 2), mixed_rows(9), "mixed", signed=SIGNED) == ours
    others = [
        key(arrange("float"), rows, "float", signed=SIGNED),
        key(arrange("mixed", width=17), rows, "mixed", signed=SIGNED),
        key(arrange("mixed"), (rows[0].int(), rows[1]), "mixed", signed=SIGNED),
        key(arrange("mixed"), rows, "mixed", signed=not SIGNED),
    ]
    assert len({ours, *others}) == 5


def test_a_key_is_of_the_numbers_and_texts_that_modules_hold() -> None:
    rows, model = mixed_rows(4), copy.deepcopy(arrange("float"))
    ours = key(model, rows, "float", signed=SIGNED)
    model.body.factor = 2.0  # type: ignore[union-attr]
    assert key(model, rows, "float", signed=SIGNED) != ours


# ── Other models ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_ways_are_by_what_the_layers_see() -> None:
    assert ways(version(1)[1]) == ("mixed", "float", "row8")
    assert ways(watch(served(encoder()), token_rows(4))) == ("row8",)
    assert ways(watch(served(nn.Sequential(nn.Linear(5, 1))), (torch.zeros(2, 5),))) == ("float", "row8")
    assert ways(watch(nn.Linear(5, 1), (torch.zeros(2, 5),))) == ("float",)


def test_rows_of_tokens_are_multiplied_by_their_own_scales() -> None:
    torch.manual_seed(3)
    model = served(encoder())
    choice = choose(model, token_rows(100), token_rows(300))
    assert choice.arithmetic == "row8"
    assert choice.rows == 256
    assert parity(model, choice.run, token_rows(40)).mean < 1e-6


def test_convolutions_run_in_float_as_they_are() -> None:
    torch.manual_seed(3)
    model = artifact.load(artifact.pack(training_form(cnn(), Recipe.parse("quantize(int8)")).eval(), {}), cnn)
    choice = choose(model, image_rows(100), image_rows(300))
    assert any(isinstance(layer, Int8Linear) for layer in model.modules())
    assert near(parity(model, choice.run, image_rows(50))) is None
    bad = image_rows(5)[0]
    bad[2, 0, 3, 3] = math.nan
    assert choice.run(bad).isfinite().all(1).tolist() == [True, True, False, True, True]


KINDS = [
    *(torch.uint8, torch.bool, torch.float16, torch.float64),
    *(pytest.param(kind, marks=pytest.mark.long) for kind in (torch.int16, torch.int32)),
]


@pytest.mark.parametrize("kind", KINDS, ids=str)
def test_inputs_of_every_type_are_taken(kind: torch.dtype) -> None:
    class Cast(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(nn.Linear(5, 8), nn.ReLU(), nn.Linear(8, 2))

        def forward(self, x: Tensor) -> Tensor:
            out: Tensor = self.body(x.float())
            return out

    torch.manual_seed(3)
    model, rows = served(Cast()), torch.randint(0, 5, (60, 5)).to(kind)
    made = arranged(model, "row8", {}, signed=SIGNED)
    run = session(export(made, (rows[:4],), "row8", signed=SIGNED), made)
    assert parity(model, run, (rows,)).mean < 1e-6
    if kind.is_floating_point:
        rows[3, 2] = math.nan
        assert run(rows).isfinite().all(1).sum() == 59
