"""What an artifact says about its origin, and that nothing is imported because of it."""

import json
import math
import sys
from functools import partial
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from compressors.artifact import format as artifact
from compressors.artifact import manifest
from compressors.compress import compress
from compressors.data import Data
from compressors.errors import ArtifactError
from compressors.form import training_form
from compressors.recipe import Quantize, Recipe
from tests.unit.compressors.problems import Squared, kink_rows

torch.set_num_threads(1)  # these nets are too small to share among threads, which would only wait for each other

NAME = f"{__name__}:Net"
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)


class Net(nn.Module):
    """Its width is an argument; its weights are drawn anew each time."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.one, self.two = nn.Linear(8, width), nn.Linear(width, 1)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.two(self.one(x).relu())
        return out


def packed(manifest: dict[str, Any]) -> bytes:
    torch.manual_seed(0)
    return artifact.pack(training_form(Net(), Recipe(Quantize("int8"))).eval(), manifest)


def test_an_artifact_says_what_made_it_and_how_good_it_is() -> None:
    held, net = kink_rows(90), Net(24)
    made = compress(
        net, "quantize(int4)", kink_rows(300), Squared(), held=held, factory=Net, arguments={"width": 24},
        manifest={"note": "mine"},
    )  # fmt: skip
    manifest = artifact.describe(made.artifact).manifest
    assert manifest == made.description.manifest
    assert list(manifest) == ["recipe", "factory", "arguments", "versions", "note", "parity", "quality"]
    assert (manifest["factory"], manifest["arguments"], manifest["note"]) == (NAME, {"width": 24}, "mine")
    assert manifest["versions"]["python"] == ".".join(map(str, sys.version_info[:3]))
    assert torch.__version__.startswith(manifest["versions"]["torch"])
    assert manifest["parity"] == made.parity._asdict()
    (x,), y = held
    before, after = ((model(x)[:, 0] - y).square().detach() for model in (net, made.model))
    assert manifest["quality"] == {
        "loss_before": made.loss_before,
        "loss_after": made.loss_after,
        "loss_error": made.loss_error,
        "rows": 90,
    }
    assert made.loss_before == pytest.approx(float(before.mean()))
    assert made.loss_after == pytest.approx(float(after.mean()))
    assert made.loss_error == pytest.approx(float((after - before).std(correction=0)) / math.sqrt(90))


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ({}, {"factory": NAME}),
        ({"arguments": {"width": 16}}, {"factory": NAME, "arguments": {"width": 16}}),
        ({"factory": Net}, {"factory": NAME, "arguments": {}}),
        ({"factory": partial(Net, 16)}, {"factory": "functools:partial", "arguments": {}}),
    ],
)
def test_what_is_known_of_the_factory_is_said(how: dict[str, Any], said: dict[str, Any]) -> None:
    manifest = compress(Net(), "quantize(int8)", kink_rows(50), Squared(), **how).description.manifest
    assert {name: manifest[name] for name in manifest if name in ("factory", "arguments")} == said


def test_equal_models_and_manifests_give_equal_bytes() -> None:
    def made() -> bytes:
        torch.manual_seed(1)
        return compress(Net(), "quantize(int8)", kink_rows(50), Squared(), arguments={}).artifact

    assert made() == made()


@given(JSON, JSON)
@settings(max_examples=30)
def test_a_manifest_put_in_later_gives_the_bytes_that_it_would_have_given_at_once(first: Any, then: Any) -> None:
    data, manifest = packed({"any": first}), {"any": then}
    again = artifact.with_manifest(data, manifest)
    assert again == packed(manifest)
    assert artifact.describe(again).manifest == manifest
    assert (artifact.describe(again).digest == artifact.describe(data).digest) == (again == data)


def test_a_factory_that_makes_another_model_is_refused_before_anything_is_computed() -> None:
    with pytest.raises(ValueError, match=r"Net\(width=9\) makes another .* one.weight is \(9, 8\), not \(16, 8\)"):
        compress(Net(), "quantize(int8)", kink_rows(50), Squared(), arguments={"width": 9})
    with pytest.raises(ValueError, match=r"build.*\(\) makes another model .*: its one.weight is missing, not"):
        compress(Net(), "quantize(int8)", kink_rows(50), Squared(), factory=build)


def build() -> nn.Module:
    return nn.Linear(8, 1)


def test_the_generator_is_left_as_it_was() -> None:
    expected = torch.get_rng_state()
    made = manifest.made_by(Net(), Net, {})
    assert made[1]["arguments"] == {}
    torch.set_rng_state(expected)
    net = Net()
    before = torch.get_rng_state()
    manifest.made_by(net, Net, {})
    assert torch.equal(torch.get_rng_state(), before)


@pytest.mark.parametrize(
    ("manifest", "said"),
    [
        ({"note": {1, 2}}, "must be JSON: Object of type set"),
        ({"note": math.nan}, "must be JSON: "),
        ({"versions": {}, "quality": 1}, "manifest: versions, quality is written by compress itself"),
    ],
)
def test_a_manifest_that_cannot_be_written_is_refused(manifest: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        compress(Net(), "quantize(int8)", kink_rows(50), Squared(), manifest=manifest)
    if "note" in manifest:
        with pytest.raises(ValueError, match="must be JSON: "):
            artifact.with_manifest(packed({}), manifest)


def test_another_model_is_told_from_what_it_was_made() -> None:
    made = compress(Net(), "quantize(int8)", kink_rows(50), Squared(), arguments={"width": 16}).artifact
    with pytest.raises(ArtifactError, match=r"(?s)does not fit .*; it was made from .*:Net\(width=16\)$"):
        artifact.load(made, partial(Net, 17))
    unknown = compress(Net(), "quantize(int8)", kink_rows(50), Squared()).artifact
    with pytest.raises(ArtifactError, match=r"made from .*:Net\(\.\.\.\)$"):
        artifact.load(unknown, partial(Net, 17))
    with pytest.raises(ArtifactError, match=r"(?s)does not fit this model: (?!.*made from)"):
        artifact.load(packed({}), partial(Net, 17))


@given(JSON, JSON)
@settings(max_examples=30)
def test_nothing_is_imported_by_a_name_in_a_file(factory: Any, arguments: Any) -> None:
    """Whatever a stranger's manifest says is read and shown, and never run."""
    for name in (factory, "antigravity:fly"):
        manifest = {"factory": name, "arguments": arguments}
        data = packed(manifest)
        assert artifact.load(data, Net)(torch.zeros(1, 8)).shape == (1, 1)
        with pytest.raises(ArtifactError, match="does not fit"):
            artifact.load(data, partial(Net, 17))
        assert artifact.describe(data).manifest == json.loads(json.dumps(manifest))
    assert "antigravity" not in sys.modules


def test_versions_are_those_of_the_packages_that_the_model_is_of() -> None:
    transformers = pytest.importorskip("transformers")
    bert = transformers.BertModel(transformers.BertConfig(hidden_size=8, num_hidden_layers=1, num_attention_heads=2,
                                                          intermediate_size=8, vocab_size=9))  # fmt: skip
    assert manifest.versions(bert)["transformers"] == transformers.__version__
    assert list(manifest.versions(Net())) == ["python", "shadowstream", "torch"]


def test_a_loss_that_is_not_finite_is_refused() -> None:
    class Infinite(Squared):
        def losses(self, output: Tensor, target: Tensor) -> Tensor:
            return super().losses(output, target) + math.inf

    with pytest.raises(ValueError, match=r"a loss on the held-out rows is not finite: .*loss_before=inf"):
        compress(Net(), "quantize(int8)", Data((torch.randn(40, 8),), torch.randn(40)), Infinite())
