"""Whether constraints.txt can be met: `python -m tests.constraints`, part of `make lint`.

Every line pins one version, in the order of the alphabet and once, and inside what pyproject.toml allows; everything
that pyproject.toml asks for is pinned.
"""

import sys
import tomllib
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]


def pins(lines: Iterable[str]) -> Iterator[tuple[str, str | None]]:
    """Yield each line's package and version; the version is None where the line does not pin one."""
    for line in lines:
        try:
            made = Requirement(line)
        except InvalidRequirement:
            yield line, None
            continue
        only = [*made.specifier]
        pinned = len(only) == 1 and only[0].operator == "==" and not only[0].version.endswith("*")
        plain = not (made.extras or made.marker or made.url)
        yield canonicalize_name(made.name), only[0].version if pinned and plain else None


def wanted(project: dict[str, list[str]]) -> Iterator[Requirement]:
    """Yield what the lists of requirements ask for, except our own extras."""
    for listed in project.values():
        yield from (one for one in map(Requirement, listed) if one.name != "shadowstream")


def faults(lines: Sequence[str], project: dict[str, list[str]]) -> list[str]:
    """Return what is wrong, a sentence each; `project` holds pyproject.toml's requirements by list."""
    problems = [f"{name!r} pins no version" for name, version in pins(lines) if version is None]
    names = [name for name, version in pins(lines) if version is not None]
    problems += [f"{name} is pinned twice" for name in sorted({name for name in names if names.count(name) > 1})]
    problems += [
        f"{after!r} comes before {before!r} in the alphabet"
        for before, after in pairwise(lines)
        if after.lower() < before.lower()
    ]
    versions = {name: version for name, version in pins(lines) if version is not None}
    for one in wanted(project):
        version = versions.get(canonicalize_name(one.name))
        if version is None:
            problems.append(f"pyproject.toml asks for {one}, which is not pinned")
        elif not one.specifier.contains(version):
            problems.append(f"pyproject.toml asks for {one}, and {version} is pinned")
    return problems


def main() -> int:
    """Check the file; print what is wrong, and return the exit code."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    asked = {"dependencies": project["dependencies"]} | project["optional-dependencies"]
    problems = faults((ROOT / "constraints.txt").read_text().splitlines(), asked)
    for fault in problems:
        print(f"constraints.txt: {fault}")
    return int(bool(problems))


if __name__ == "__main__":
    sys.exit(main())
