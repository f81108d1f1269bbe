"""How dead letters look."""

from io import StringIO

from rich.console import Console

from deploy.console.dead import show_list
from deploy.operate.dead import Listing, Row


def test_a_position_is_whole_in_a_narrow_terminal() -> None:
    position = "a-topic-with-a-long-name.requests/11/1234567"
    row = Row(
        position=position, end=1_234_568, reason="not JSON", t="2026-11-26 14:47:28", bytes=120,
        at="2026-11-26 14:47:29", copies=1, replayed=False,
    )  # fmt: skip
    out = StringIO()
    show_list(Console(file=out, width=80), Listing(positions=1, reasons={"not JSON": 1}, rows=[row]))
    cells = [line.split("│")[1].strip() for line in out.getvalue().splitlines() if line.startswith("│")]
    assert position in "".join(cells)
