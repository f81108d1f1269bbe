"""Artifacts in folders: whole or not at all, checked when read, and in Hugging Face's layout for their models."""

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from compressors.artifact.folder import pull, push
from compressors.artifact.format import describe, load, pack
from compressors.errors import ArtifactError
from compressors.form import training_form
from compressors.recipe import Quantize, Recipe


class Config:
    """What Hugging Face's configs have."""

    def to_json_string(self) -> str:
        return '{"hidden_size": 4}'


class Model(nn.Module):
    """A model with a config, and a weight under two names."""

    def __init__(self) -> None:
        super().__init__()
        self.config = Config()
        self.names, self.out = nn.Embedding(9, 4), nn.Linear(4, 9, bias=False)
        self.out.weight = self.names.weight

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.out(self.names(x))
        return out


def made() -> bytes:
    torch.manual_seed(0)
    return pack(training_form(Model(), Recipe(Quantize("int8", inputs="float"))).eval(), {"note": 1})


def test_what_was_pushed_is_pulled(tmp_path: Path) -> None:
    data, folder = made(), tmp_path / "a" / "b"
    for _ in range(2):
        pushed = push(data, folder)
        assert pull(folder) == data
        assert sorted(p.name for p in folder.iterdir()) == ["artifact.json", "artifact.safetensors"]
    assert json.loads((folder / "artifact.json").read_text())["digest"] == pushed.digest == describe(data).digest


def test_a_hugging_face_model_has_its_own_layout_beside(tmp_path: Path) -> None:
    data = made()
    push(data, tmp_path, Model)
    assert json.loads((tmp_path / "config.json").read_text()) == {"hidden_size": 4}
    plain, x = Model(), torch.arange(9)
    plain.load_state_dict(load_file(tmp_path / "model.safetensors"))
    torch.testing.assert_close(plain(x), load(data, Model)(x))


def test_what_is_not_an_artifact_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"has no artifact\.safetensors: No such file"):
        pull(tmp_path)
    push(made(), tmp_path)
    path = tmp_path / "artifact.safetensors"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ArtifactError, match="truncated"):
        pull(tmp_path)
    with pytest.raises(ArtifactError, match="not an artifact"):
        push(b"nothing", tmp_path / "other")
    assert not (tmp_path / "other").exists()
