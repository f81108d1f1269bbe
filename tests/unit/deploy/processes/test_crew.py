"""A crew's workers: one whose process died is started again as soon as one can be, and an error of one is the end."""

import pytest

from deploy.config import Settings
from deploy.processes.crew import Crew, Worker
from deploy.processes.worker import JOINER, Work
from streams.errors import PositionError, ShadowstreamError

WORK = Work(role=JOINER, feed="feed.py", settings=Settings(), tps=[], fetch_wait_ms=1)


class Told:
    """A worker that is as it is told to be."""

    work = WORK

    def __init__(self) -> None:
        self.exit_code: int | None = None
        self.death, self.waited = "", False

    def error(self) -> ShadowstreamError:
        return PositionError("look")

    def leave(self) -> None:
        self.exit_code = 0

    def wait(self, grace_s: float) -> None:
        self.waited = True


def test_a_worker_that_died_is_begun_again_once_one_can_be_and_an_error_is_the_end() -> None:
    begun, said, can = list[Told](), list[str](), [False]

    def start(work: Work, n: int) -> Worker:
        begun.append(Told())
        return begun[-1]

    with Crew([WORK, WORK], start, said.append, lambda: can[0]) as crew:
        begun[1].exit_code, begun[1].death = -1, "the joiner-1 died"
        crew.check()
        assert len(begun) == 2, "nothing could be started"
        can[0] = True
        crew.check()
        crew.check()
        assert crew.workers == [begun[0], begun[2]]
        assert begun[1].waited
        assert said == ["the joiner-1 died; starting it again"]
        begun[0].exit_code = 4
        with pytest.raises(PositionError):
            crew.check()
    assert begun[2].waited
