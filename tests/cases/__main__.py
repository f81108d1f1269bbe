"""Run all cases and print a table, a line each: `python -m tests.cases [ARGUMENTS FOR PYTEST]`.

The last line is `N passed, N failed`; the exit code is 1 if one failed. A case without the broker that it needs is
shown as skipped, and is neither.
"""

import sys
from collections import defaultdict
from pathlib import Path

import pytest
from rich.console import Console
from rich.table import Table

ORDER = ("failed", "skipped", "passed")  # the worst of a case's tests is the case's


class Results:
    """A pytest plugin that collects how each case's tests ended."""

    def __init__(self) -> None:
        self.cases: dict[str, list[tuple[str, str]]] = defaultdict(list)  # case to (how it ended, the test's name)
        self.reports: dict[str, set[str]] = defaultdict(set)
        self._tests: dict[str, list[pytest.Mark]] = {}

    def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
        self._tests = {item.nodeid: list(item.iter_markers("case")) for item in items}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.when != "call" and report.passed:
            return
        for mark in self._tests.get(report.nodeid, []):
            name, *reports = mark.args
            self.cases[name].append((report.outcome, report.nodeid.partition("::")[2]))
            self.reports[name].update(reports)


def main() -> int:
    """Return the exit code."""
    results = Results()
    code = pytest.main([str(Path(__file__).parent), *sys.argv[1:]], plugins=[results])
    table = Table("case", "from", "tests", "result")
    ended = {name: min((how for how, _ in tests), key=ORDER.index) for name, tests in results.cases.items()}
    for name, how in sorted(ended.items()):
        wrong = [test for one, test in results.cases[name] if one == "failed"]
        table.add_row(
            name, ", ".join(sorted(results.reports[name])), str(len(results.cases[name])), " ".join([how, *wrong])
        )
    Console(width=None if sys.stdout.isatty() else 160).print(table)
    counts = {how: list(ended.values()).count(how) for how in ORDER}
    if counts["skipped"]:
        print(f"{counts['skipped']} skipped: SHADOWSTREAM_TEST_KAFKA_CMD or SHADOWSTREAM_TEST_REDIS_CMD is not set")
    print(f"{counts['passed']} passed, {counts['failed']} failed")
    return int(code)


if __name__ == "__main__":
    sys.exit(main())
