"""The counters of the join: what is counted has its meaning beside it, for people and for programs."""

from io import StringIO

import msgspec
from rich.console import Console, RenderableType

from deploy.console.join.counters import MEANINGS, OUTSTANDING, counters, outstanding
from deploy.monitor import counted
from streams.join.step import COUNTERS
from tests.unit.deploy.console.views import shard


def lines(table: RenderableType) -> list[list[str]]:
    out = StringIO()
    Console(file=out, width=160).print(table)
    return [[cell.strip() for cell in line.split("│")[1:-1]] for line in out.getvalue().splitlines() if "│" in line]


def test_counters_are_summed_over_shards_and_each_is_shown_with_its_meaning() -> None:
    counts = counted([shard(late=2, orphan=1_000, rejected=3), shard(late=3, rejected=5)])
    assert (counts["late"], counts["orphan"], counts["rejected"], counts["lost"]) == (5, 1_000, 8, 0)
    assert lines(counters(counts)) == [[name, f"{count:,}", MEANINGS[name]] for name, count in counts.items()]
    assert set(COUNTERS) < counts.keys()
    assert msgspec.json.decode(msgspec.json.encode(counts)) == counts


def test_status_shows_what_became_no_sample_or_not_yet() -> None:
    rows = lines(outstanding(counted([shard(waiting=4)])))
    assert [row[0] for row in rows] == list(OUTSTANDING)
    assert rows[0] == ["waiting", "4", MEANINGS["waiting"]]
