"""What is created on a disk is there whole or not at all, and what cannot be written says so."""

import os
import shutil
from pathlib import Path

import pytest

from deploy.registry import storage
from streams.errors import RegistryUnwritable


def test_a_folder_that_is_gone_is_named_and_nothing_is_left(tmp_path: Path) -> None:
    folder = tmp_path / "commits"
    folder.mkdir()
    assert storage.create(folder / "0", b"first")
    assert not storage.create(folder / "0", b"second")
    shutil.rmtree(folder)
    with pytest.raises(RegistryUnwritable, match=r"commits/1 cannot be written: No such file or directory"):
        storage.create(folder / "1", b"lost")


def test_a_disk_that_fills_up_leaves_no_draft(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(RegistryUnwritable, match=r"blob cannot be written: No space left on device"):
        storage.create(tmp_path / "blob", b"lost")
    assert not list(tmp_path.iterdir())
