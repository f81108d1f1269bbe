"""What a run says of its first version: that it makes one, or which one serves already."""

from dataclasses import replace
from pathlib import Path

from deploy.registry.kinds import CHAMPIONS
from deploy.registry.registry import Registry
from deploy.run.running import first_version
from tests import small


def test_a_first_version_is_made_once_and_only_then_said(tmp_path: Path) -> None:
    registry, untrained = Registry(tmp_path), replace(small.pipeline, history=None)
    first: list[str] = []
    first_version(untrained, registry, first.append)
    assert first == ["making the first version"]
    assert registry.last(CHAMPIONS) == 0
    second: list[str] = []
    first_version(small.pipeline, registry, second.append)
    assert second == ["v0 serves, as before"]
