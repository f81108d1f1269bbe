"""How an audit looks: names of partitions and ids are whole on one line, and no figure is cut."""

from io import StringIO

import pytest
from rich.console import Console

from deploy.console.join.audit import show
from deploy.monitor import counted
from deploy.operate.join.audit import Report
from streams.audit.equations import audit
from streams.audit.verify import Difference, Verdict
from streams.join.step import COUNTERS, PartitionState, ShardState
from streams.join.store import Waiting


def report(topic: str) -> Report:
    at = PartitionState(0, 1_234_567_890, -1, 0, 0, 1_234_567_890)
    counters = dict.fromkeys(COUNTERS, 0) | {"predictions": 1_234_567_890, "opened": 1_234_567_890}
    shard = ShardState(0, "0", 0, 0, "0-0", 0, False, 0, 0, 0, counters, {f"{topic}:3": at})
    return Report(
        feed="wide",
        audit=audit([shard]),
        counters=counted([shard]),
        waiting=[Waiting(0, f"id-{topic}", "prediction")],
        notes=[f"a note on {topic}:3"],
        rejected={f"field 'x' of {topic}": 7},
        verdict=Verdict(ids=1, differing=1, differences=[Difference(f"other-{topic}", "1.0", "0.0")]),
    )


@pytest.mark.parametrize("width", [30, 40, 60, 80, 300])
@pytest.mark.parametrize("topic", ["sla.requests", "t" * 249, "[red]"])
def test_no_name_and_no_figure_is_cut(topic: str, width: int) -> None:
    out = StringIO()
    show(Console(file=out, width=width), report(topic))
    words = out.getvalue().replace("│", " ").replace("┃", " ").split()
    assert f"{topic}:3" in words
    assert f"id-{topic}" in words
    assert f"other-{topic}" in words
    assert any(word.strip(",") == "1,234,567,890" for word in words)
