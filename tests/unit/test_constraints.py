"""A constraints.txt that no installer can meet is reported, and ours is not."""

import pytest

from tests.constraints import faults, main

ASKED = {"dependencies": ["redis[hiredis]>=7,<9", "kafka-python[lz4]>=3.0.12,<3.1"], "dev": ["shadowstream[x]"]}
GOOD = ["kafka-python==3.0.12", "redis==8.1.0", "Zope==1.0"]


def test_ours_can_be_met() -> None:
    assert main() == 0


def test_a_good_file_has_no_fault() -> None:
    assert faults(GOOD, ASKED) == []


@pytest.mark.parametrize(
    ("lines", "fault"),
    [
        ([*GOOD[:2], "six=="], "'six==' pins no version"),
        ([*GOOD[:2], "six>=1.0"], "'six' pins no version"),
        ([*GOOD[:2], "six==1.*"], "'six' pins no version"),
        ([*GOOD[:2], "six"], "'six' pins no version"),
        ([*GOOD[:2], "six[a]==1.0"], "'six' pins no version"),
        ([*GOOD[:2], "# why"], "'# why' pins no version"),
        (["a_b==1", "a-b==1", *GOOD], "a-b is pinned twice"),
        ([GOOD[1], GOOD[0]], "'kafka-python==3.0.12' comes before 'redis==8.1.0' in the alphabet"),
        (
            ["kafka-python==3.1", GOOD[1]],
            "pyproject.toml asks for kafka-python[lz4]<3.1,>=3.0.12, and 3.1 is pinned",
        ),
        (GOOD[:1], "pyproject.toml asks for redis[hiredis]<9,>=7, which is not pinned"),
    ],
)
def test_each_fault_is_said(lines: list[str], fault: str) -> None:
    assert fault in faults(lines, ASKED)
