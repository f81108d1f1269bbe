"""Print the ten slowest tests of the junit files in a folder: `python -m tests.slowest FOLDER`."""

import sys
from pathlib import Path
from xml.etree import ElementTree

MOST = 10


def slowest(folder: Path) -> list[tuple[float, str]]:
    """Return (seconds with setup and teardown, test) of the `MOST` slowest, slowest first."""
    cases = [case for file in folder.glob("*.xml") for case in ElementTree.parse(file).iter("testcase")]
    times = ((float(case.get("time", 0)), f"{case.get('classname')}::{case.get('name')}") for case in cases)
    return sorted(times, reverse=True)[:MOST]


if __name__ == "__main__":
    print(f"the {MOST} slowest tests:")
    for seconds, name in slowest(Path(sys.argv[1])):
        print(f"{seconds:7.1f} s  {name}")
