"""A service that serving can do without is left out while it fails, tried again ever more seldom, and told of twice."""

from itertools import pairwise

import pytest

from deploy.serving.spared import LONGEST_S, PAUSE_S, Spared
from streams.errors import StoreRefused, StoreUnreachable


class Service:
    """Fails while it is `down`; counts its calls."""

    def __init__(self) -> None:
        self.down, self.calls = False, 0

    def __call__(self) -> str:
        self.calls += 1
        if self.down:
            raise StoreUnreachable("no store answers at redis://here")
        return "said"


def test_it_is_left_out_while_it_fails_and_tried_again_ever_more_seldom(caplog: pytest.LogCaptureFixture) -> None:
    now, service = [100.0], Service()
    spared = Spared("the store", "serving goes on", lambda: now[0])
    assert spared.call(service) == "said"
    service.down, tried = True, list[float]()
    for _ in range(1_000):
        before = service.calls
        assert spared.call(service) is None
        tried += [now[0]] * (service.calls - before)
        now[0] += 0.125
    pauses = [b - a for a, b in pairwise(tried)]
    assert pauses[0] == PAUSE_S
    assert all(1 <= b / a <= 2 for a, b in pairwise(pauses))
    assert pauses[-1] == LONGEST_S
    service.down = False
    now[0] += LONGEST_S
    assert spared.call(service) == "said"
    assert spared.call(service) == "said"
    assert [record.getMessage() for record in caplog.records] == [
        "the server: no store answers at redis://here; serving goes on",
        "the server: the store answers again, after 130 s",
    ]


def test_what_no_retry_helps_is_raised() -> None:
    def refuse() -> None:
        raise StoreRefused("another format")

    with pytest.raises(StoreRefused):
        Spared("the store", "serving goes on").call(refuse)
