"""Where an artifact comes from, as it tells it; and what is refused before anything is computed."""

import json
from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from compressors import artifact
from compressors.compress import compress
from compressors.distill import Data
from compressors.form import training_form
from compressors.recipe import Recipe
from learners.tasks import Classes
from streams.errors import MalformedEvent

torch.set_num_threads(1)  # these nets are too small to share among threads, which would only wait for each other
INT8 = "quantize(int8)"


class Net(nn.Module):
    """Two layers, `width` wide between them."""

    def __init__(self, width: int = 8, classes: int = 3) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(5, width), nn.ReLU(), nn.Linear(width, classes))

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.layers(x)
        return out


def data(n: int = 100) -> Data:
    x = torch.randn(n, 5, generator=torch.Generator().manual_seed(0))
    return Data((x,), x[:, :3].argmax(1))


def net(**arguments: int) -> Net:
    torch.manual_seed(1)
    return Net(**arguments)


def test_an_artifact_tells_what_made_it_and_what_was_measured() -> None:
    made = compress(
        net(width=12), INT8, data(), Classes(3), factory=Net, arguments={"width": 12}, manifest={"by": "me"}
    )
    told = made.description.manifest
    assert (told["factory"], told["arguments"], told["by"]) == (f"{__name__}:Net", {"width": 12}, "me")
    assert Recipe.from_dict(told["recipe"]) == Recipe.parse(INT8)
    assert {"python", "torch", "shadowstream"} <= set(told["versions"])
    assert told["versions"]["torch"] == torch.__version__
    assert told["parity"] == made.parity._asdict()
    assert told["quality"] == {
        "loss_before": made.loss_before, "loss_after": made.loss_after, "loss_error": made.loss_error, "rows": 5
    }  # fmt: skip
    again = compress(
        net(width=12), INT8, data(), Classes(3), factory=Net, arguments={"width": 12}, manifest={"by": "me"}
    )
    assert again.artifact == made.artifact


def test_without_a_factory_the_class_is_named_and_nothing_is_imported_by_it() -> None:
    made = compress(net(), INT8, data(), Classes(3))
    assert made.description.manifest["factory"] == f"{__name__}:Net"
    assert "arguments" not in made.description.manifest
    evil = artifact.with_manifest(made.artifact, {"factory": "no.such:thing"})
    artifact.load(evil, net)


def test_a_model_that_does_not_fit_is_told_what_the_artifact_was_made_from() -> None:
    made = compress(net(width=12), INT8, data(), Classes(3), arguments={"width": 12})
    with pytest.raises(
        artifact.ArtifactError, match=r"(?s)does not fit this model: .*it was made from .*:Net\(width=12\)"
    ):
        artifact.load(made.artifact, net)


def test_another_manifest_is_another_head_of_the_same_file() -> None:
    form = training_form(net(), Recipe.parse(INT8))
    assert artifact.with_manifest(artifact.pack(form, {"a": 1}), {"b": 2}) == artifact.pack(form, {"b": 2})
    with pytest.raises(ValueError, match="JSON"):
        artifact.pack(form, {"a": object()})


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"factory": Net, "arguments": {"width": 9}}, r"Net\(width=9\) makes another model .*layers\.0\.weight is \(9"),
        ({"factory": nn.Identity}, r"Identity\(\) makes another model .*not there, not \(8, 5\)"),
        ({"manifest": {"parity": 1}}, "parity is written by compress itself"),
        ({"manifest": {"x": float("nan")}}, "JSON"),
        ({"teacher": net(classes=4), "recipe": "prune(amount=0.5) -> distill"}, "as many outputs as the model has"),
        ({"held": Data((torch.randn(3, 6),), torch.zeros(3).long())}, r"held has .*rows of \(6\).*data of \(5\)"),
        (
            {"held": Data((torch.full((3, 5), torch.nan),), torch.zeros(3).long())},
            "held: input 0: 3 of 3 rows are NaN",
        ),
        ({"data": Data(data().inputs, torch.full((100,), torch.inf))}, "data: labels: 100 of 100 rows are not finite"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(wrong: dict[str, Any], message: str) -> None:
    given: dict[str, Any] = {"recipe": INT8, "data": data()} | wrong
    with pytest.raises(ValueError, match=message):
        compress(net(), given.pop("recipe"), given.pop("data"), Classes(3), **given)


@pytest.mark.parametrize("label", [3.0, -1.0, 0.5])
def test_labels_that_are_no_class_are_refused(label: float) -> None:
    labels = data().labels.float()
    labels[7] = label
    with pytest.raises(MalformedEvent, match="from 0 to 2"):
        compress(net(), INT8, Data(data().inputs, labels), Classes(3))


def test_outputs_that_are_not_the_tasks_are_refused() -> None:
    with pytest.raises(ValueError, match=r"needs outputs \(N, 4\), the model gives \(N, 3\)"):
        compress(net(), INT8, data(), Classes(4))


@pytest.mark.parametrize("change", [nn.Module.bfloat16, nn.Module.double, nn.Module.half])
def test_a_model_that_is_not_in_float32_is_refused_at_once(change: Callable[[nn.Module], nn.Module]) -> None:
    with pytest.raises(ValueError, match=r"computes in float32.*layers\.0\.weight.*model\.float\(\)"):
        compress(change(net()), INT8, data(), Classes(3))


def test_the_head_is_json_for_whoever_reads_it() -> None:
    made = compress(net(), INT8, data(), Classes(3))
    size = int.from_bytes(made.artifact[:8], "little")
    head = json.loads(json.loads(made.artifact[8 : 8 + size])["__metadata__"]["shadowstream"])
    assert head["manifest"] == made.description.manifest
