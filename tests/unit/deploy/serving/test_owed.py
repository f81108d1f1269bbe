"""What servers still owe keeps the watermark."""

from collections.abc import Sequence

from deploy.serving.owed import Owed
from streams.kafka import Tp


class Requests:
    """Three partitions and their servers' positions, as a test sets them."""

    tps = tuple(Tp("requests", n) for n in range(3))

    def __init__(self) -> None:
        self.first, self.last, self.passed, self.asked = [0, 0, 0], [5, 5, 0], {self.tps[0]: 5}, 0

    def starts(self) -> dict[Tp, int]:
        return dict(zip(self.tps, self.first, strict=True))

    def ends(self) -> dict[Tp, int]:
        self.asked += 1
        return dict(zip(self.tps, self.last, strict=True))

    def committed(self, tps: Sequence[Tp]) -> dict[Tp, int]:
        return {tp: at for tp, at in self.passed.items() if tp in tps}


def test_a_partition_is_owed_what_is_answered_into_it() -> None:
    now, requests = [100.0], Requests()
    owed = Owed(requests, requests, "predictions", 2, lambda: now[0])

    def seen() -> list[float | None]:
        now[0] += 1.5
        return [owed(Tp("predictions", n)) for n in range(2)]

    assert seen() == [101.5, None]  # none of the second partition was ever answered
    requests.passed[requests.tps[1]] = 4
    assert seen() == [103.0, None]
    requests.passed[requests.tps[1]] = 5
    assert seen() == [104.5, 104.5]
    requests.last = [5, 5, 1]
    assert seen() == [None, 106.0]  # the third is answered into the first
    requests.first = [0, 0, 1]
    assert seen() == [107.5, 107.5]  # what the log let go, nobody answers
    assert requests.asked == 5


def test_it_asks_once_a_second_and_only_of_predictions() -> None:
    now, requests = [100.0], Requests()
    owed = Owed(requests, requests, "predictions", 2, lambda: now[0])
    assert owed(Tp("outcomes", 1)) == 0.0
    assert requests.asked == 0
    assert owed(Tp("predictions", 1)) is None
    requests.passed[requests.tps[1]] = 5
    now[0] += 0.9
    assert owed(Tp("predictions", 1)) is None
    now[0] += 0.2
    assert owed(Tp("predictions", 1)) == now[0]
    assert requests.asked == 2
