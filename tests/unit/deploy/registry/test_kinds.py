"""The names: everything that is counted or written down is named, with its meaning, in one file."""

import ast
import re
from pathlib import Path

import msgspec
import pytest

from deploy.registry.kinds import (
    COUNTERS,
    FOLDERS,
    JOIN_FIGURES,
    KINDS,
    METRICS,
    NOTES,
    OPERATOR_NOTES,
    OWN_NOTES,
    PARTITION_COUNTERS,
    RUN_FIGURES,
    TERMS,
)
from deploy.registry.learned import Learned
from deploy.registry.learned import equations as equations_of_all
from deploy.run.summary import Summary
from deploy.run.view import JoinView
from streams.audit import equations
from streams.join import step
from tests.unit.deploy.console.views import shard

ROOT = Path(__file__).parents[4]


def test_every_counter_of_the_join_has_its_meaning() -> None:
    script = (ROOT / "streams" / "join" / "join.lua").read_text()
    counted = set(re.findall(r"(?:add|vanished|too_late)\((?:[^,()]* and )?'(\w+)'", script))
    assert counted > {"joined", "orphan", "capped"}
    assert counted <= COUNTERS.keys()
    assert COUNTERS.keys() == set(step.COUNTERS)


def test_every_name_in_an_equation_has_its_meaning() -> None:
    learned = Learned(samples=0, doubled=0, shards={}, held={}, quarantined=[])
    texts = [one.text.removeprefix("shard 0: ") for one in equations_of_all([shard()], learned)]
    names = {name for text in texts for name in re.findall(r"\w+", text)}
    assert names <= COUNTERS.keys() | PARTITION_COUNTERS.keys() | TERMS.keys()
    assert len(texts) == len(equations.EQUATIONS) + 2


def test_every_part_of_a_partition_s_equation_has_its_meaning() -> None:
    fields = {field.name for field in msgspec.structs.fields(equations.Partition)}
    assert PARTITION_COUNTERS.keys() == fields - {"tp", "equation"}


@pytest.mark.parametrize(("printed", "figures"), [(Summary, RUN_FIGURES), (JoinView, JOIN_FIGURES)])
def test_every_figure_that_a_command_prints_has_its_meaning(
    printed: type[msgspec.Struct], figures: dict[str, str]
) -> None:
    """A field that is a counter is the counter of that name."""
    fields = {field.name for field in msgspec.structs.fields(printed)}
    assert figures.keys() == fields - COUNTERS.keys() - ({"rejected", "ahead"} if printed is JoinView else set())


def test_names_are_used_once_and_explained() -> None:
    written = {kind.name: kind.means for kind in KINDS} | {note.name: note.means for note in NOTES}
    written |= FOLDERS | OWN_NOTES
    assert len(written) == len(KINDS) + len(NOTES) + len(FOLDERS) + len(OWN_NOTES)
    meanings = [written, COUNTERS, PARTITION_COUNTERS, OPERATOR_NOTES, TERMS, JOIN_FIGURES, RUN_FIGURES]
    assert all(means for names in meanings for means in names.values())


def test_a_note_that_another_version_wrote_otherwise_counts_as_absent() -> None:
    assert METRICS.read(b'{"total":{"served":[3,0.5,0.7]},"months":{}}') is None
    assert METRICS.read(None) is None


def test_no_note_is_put_on_the_board_under_a_name_of_its_own() -> None:
    """What a role puts there comes from a `Note`, or from the name of one."""
    calls = [
        (path, call)
        for path in sorted((ROOT / "deploy").rglob("*.py"))
        for call in ast.walk(ast.parse(path.read_text()))
        if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and call.func.attr == "put"
    ]
    assert len(calls) > 5
    for path, call in calls:
        for made in (part for argument in call.args for part in ast.walk(argument) if isinstance(part, ast.Dict)):
            assert not [key.value for key in made.keys if isinstance(key, ast.Constant)], f"{path}:{call.lineno}"
