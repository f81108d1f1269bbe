"""Ray on a busy machine: a start that takes longer than Ray allows is tried again, and no other failure is."""

from typing import Any

import pytest

from deploy.processes import actors


@pytest.fixture
def starts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return what each start of Ray will fail with, "" for not at all; a start takes the first away."""
    failures: list[str] = []

    def init(**_: Any) -> None:
        if failure := failures.pop(0):
            raise Exception(failure)

    monkeypatch.setattr("ray.init", init)
    return failures


def test_a_start_that_ray_gave_too_little_time_is_tried_again(starts: list[str]) -> None:
    starts += ["The current node timed out during startup. This could", "", "not tried"]
    actors._init(None)
    assert starts == ["not tried"]


@pytest.mark.parametrize("failures", [["no such address", "not tried"], ["it timed out during startup"] * 5])
def test_any_other_failure_and_the_last_are_raised(starts: list[str], failures: list[str]) -> None:
    starts += failures
    with pytest.raises(Exception, match=failures[0]):
        actors._init(None)
    assert starts == [one for one in failures if one == "not tried"]
