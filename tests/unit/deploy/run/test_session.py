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
    assert first_version(untrained, registry, first.append) is not None  # its learner, which is told to servers
    assert first == ["making the first version"]
    assert registry.last(CHAMPIONS) == 0
    second: list[str] = []
    assert first_version(small.pipeline, registry, second.append) is None
    assert second == ["v0 serves, as before"]
