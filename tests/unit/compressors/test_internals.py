"""torch's private parts: one file has them, and only for the versions that were tested."""

import ast
import tomllib
from pathlib import Path
from typing import Any

import pytest
import torch
from packaging.requirements import Requirement

from compressors.errors import UntestedTorch
from compressors.internals import TorchDispatchMode, check, int8_product, lerp_

ROOT = Path(__file__).parents[3]
PACKAGES = ("streams", "compressors", "learners", "deploy")
HOME = ROOT / "compressors" / "internals.py"


def bounds() -> Requirement:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return next(one for one in map(Requirement, project["dependencies"]) if one.name == "torch")


@pytest.mark.parametrize("installed", ["2.6.0", "2.12.1", "2.13.0", "2.13.0+cpu", "2.13.1", "2.14.0", "2.14", "3.0.0"])
def test_the_versions_that_are_taken_are_those_of_the_project(installed: str) -> None:
    if bounds().specifier.contains(installed):
        check(installed)
    else:
        with pytest.raises(UntestedTorch, match=r"^torch [\d.]+ was not tested .*; install torch>=2\.13,<2\.14$"):
            check(installed)


def private(source: str) -> set[str]:
    """Return the private names of torch that a module uses: of its modules, and of layers by names that torch gave."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom) and str(node.module).split(".")[0] == "torch":
            names |= {part for part in f"{node.module}.{node.names[0].name}".split(".") if part.startswith("_")}
        elif isinstance(node, ast.Attribute) and node.attr.startswith("_") and not node.attr.startswith("__"):
            whole = ast.unparse(node)
            if whole.split(".")[0] in ("torch", "nn", "F") or node.attr.startswith("_flat_weights"):
                names.add(whole)
        elif isinstance(node, ast.Constant) and str(node.value).startswith("torch._"):
            names.add(str(node.value))
    return names


def test_no_other_file_uses_what_torch_does_not_document() -> None:
    elsewhere = {
        f"{path.relative_to(ROOT)}: {name}"
        for package in PACKAGES
        for path in sorted((ROOT / package).rglob("*.py"))
        if path != HOME
        for name in private(path.read_text())
    }
    assert not elsewhere
    assert {"torch._int_mm", "torch._foreach_lerp_", "F._mha_shape_check", "_python_dispatch"} < private(
        HOME.read_text()
    )


def test_a_product_in_int8_is_exact() -> None:
    a, b = torch.randint(-127, 128, (5, 64), dtype=torch.int8), torch.randint(-127, 128, (64, 3), dtype=torch.int8)
    assert torch.equal(int8_product(a, b), a.int() @ b.int())


def test_means_move_by_a_share_of_the_way() -> None:
    means = [torch.zeros(2), torch.ones(1)]
    lerp_(means, [torch.ones(2), torch.zeros(1)], 0.25)
    assert [mean.tolist() for mean in means] == [[0.25, 0.25], [0.75]]


def test_a_mode_sees_operations_without_torchs_compiler() -> None:
    """torch puts what imports its compiler around the method of a mode of its own."""

    class Mode(TorchDispatchMode):  # type: ignore[no-untyped-call]
        seen: tuple[str, ...] = ()

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            self.seen += (func.overloadpacket.__name__,)
            return func(*args, **(kwargs or {}))

    with Mode() as mode:  # type: ignore[no-untyped-call]
        torch.ones(2) + 1
    assert mode.seen == ("ones", "add")
    assert not hasattr(Mode.__torch_dispatch__, "__wrapped__")
