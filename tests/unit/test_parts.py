"""The parts of `make test` and `make test-all` together run every test; the ten slowest of them are named."""

import re
from pathlib import Path

from tests.slowest import MOST, slowest

ROOT = Path(__file__).parents[2]
IGNORE = "--ignore="
PART = re.compile(r"^([a-z -]+): .*\n\t(?:nice -n 5 )?\$\(PYTEST\) (-m '\$\(MARK\)' )?(tests/.+)$", re.MULTILINE)


def runs(prefix: str, file: Path) -> int:
    """Return how many of the Makefile's parts of this prefix run a file."""
    parts = [run.split() for names, _, run in PART.findall((ROOT / "Makefile").read_text()) if prefix in names]
    return sum(
        any(file.is_relative_to(word) for word in run)
        and not any(file.is_relative_to(word.removeprefix(IGNORE)) for word in run if word.startswith(IGNORE))
        for run in parts
    )


def may_be_long(file: Path) -> bool:
    """Return whether a file may have long tests: of units and properties those that say so."""
    return file.parts[1] not in ("unit", "property") or bool(re.search(r"mark\.long", (ROOT / file).read_text()))


def test_every_file_of_tests_is_in_one_short_and_one_long_part() -> None:
    files = [path.relative_to(ROOT) for path in (ROOT / "tests").rglob("test_*.py")]
    assert {runs("long-", file) for file in files if may_be_long(file)} == {1}
    assert {runs("short-", file) for file in files if "faults" not in file.parts} == {1}  # all faults are long


def test_every_part_is_run_by_its_command() -> None:
    makefile = (ROOT / "Makefile").read_text()
    commands = re.findall(r"\$\(MAKE\) \$\(PARTS\) (.+?);", makefile)
    parts = {name for names, _, _ in PART.findall(makefile) for name in names.split()}
    assert parts == {name for names in commands for name in names.split()}
    assert re.findall(r"^(short|long)-%: MARK = (.+)$", makefile, re.MULTILINE) == [
        ("short", "not long"),
        ("long", "long"),
    ]


def test_the_slowest_are_named_slowest_first(tmp_path: Path) -> None:
    for part, times in (("a", range(0, 20, 2)), ("b", range(1, 20, 2))):
        cases = "".join(f'<testcase classname="{part}" name="t{n}" time="{n}.5"/>' for n in times)
        (tmp_path / f"{part}.xml").write_text(f"<testsuites><testsuite>{cases}</testsuite></testsuites>")
    assert slowest(tmp_path)[:2] == [(19.5, "b::t19"), (18.5, "a::t18")]
    assert len(slowest(tmp_path)) == MOST
