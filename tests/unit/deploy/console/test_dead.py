"""How dead letters look: a position is whole on one line, however narrow the terminal is."""

from io import StringIO

import pytest
from rich.console import Console

from deploy.console.join.dead import show_list, show_one, show_replayed
from deploy.operate.join.dead import Listing, Replayed, Row
from streams.dead import Refusal, StoredLetter
from streams.events import Record
from streams.kafka import Tp
from streams.offsets import Offsets

TOPICS = ["a-topic-with-a-long-name.requests", "t" * 249, "[red]", "sla.requests"]
WIDTHS = [20, 40, 60, 80, 200]


def rows(topic: str) -> list[Row]:
    return [
        Row(
            position=f"{topic}/11/{n}", end=n + 1, reason="not JSON: [bold]" + "word " * 30, t="2026-11-26 14:47:28",
            bytes=120_000, at="2026-11-26 14:47:29.000", copies=1, replayed=n == 1, count=1 if n else 100_000,
        )
        for n in range(3)
    ]  # fmt: skip


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("topic", TOPICS)
def test_a_position_is_whole_in_a_narrow_terminal(topic: str, width: int) -> None:
    out, listing = StringIO(), Listing({"not JSON: …": 100_002}, 100_002, rows(topic), letters=3)
    show_list(Console(file=out, width=width), listing)
    lines = out.getvalue().splitlines()
    for row in listing.rows:
        (found,) = [line for line in lines if row.position in line.split("│")[:2][-1]]
        assert found.replace("│", " ").split()[0] == row.position
    assert "…" not in out.getvalue().replace("JSON: …", "")
    assert "100,002 positions" in " ".join(out.getvalue().split())


@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("topic", TOPICS)
def test_one_letter_and_a_replay_name_the_position_whole(topic: str, width: int) -> None:
    tp, out = Tp(topic, 3), StringIO()
    console, position = Console(file=out, width=width), f"{topic}/3/1080"
    summed = StoredLetter(position, tp, 1080, 1100, "late", 0, offsets=Offsets.of((1080, 1100)))
    show_one(console, Refusal(summed))
    show_one(console, Refusal(summed._replace(offsets=None, record=Record(topic, 3, 1080, 0, 0, None, b"x"))))
    show_replayed(console, Replayed([], [(position, "gone " * 40)], 0))
    lines = out.getvalue().splitlines()
    assert [line for line in lines if position in line] == [
        f"position: {position}",
        f"position: {position}",
        f"{position}: {'gone ' * 40}",
    ]
    assert "count: 20" in lines


def test_no_letters_are_said() -> None:
    out = StringIO()
    show_list(Console(file=out), Listing({}, 0, []))
    assert "every record could be read" in out.getvalue()
