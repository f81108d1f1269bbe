"""What imports Ray is imported by its name, late: each name is a module's."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[4] / "deploy"


def test_each_module_that_is_imported_late_is_there() -> None:
    named = [name for file in ROOT.rglob("*.py") for name in re.findall(r'with_ray\("([\w.]+)"', file.read_text())]
    assert len(named) >= 5
    for name in named:
        assert (ROOT / "processes" / f"{name.replace('.', '/')}.py").is_file(), name
