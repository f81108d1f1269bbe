"""A user's file and the modules beside it: found, not mixed with another's, and said where they fail."""

import sys
from pathlib import Path

import pytest

from deploy import feed as feeds
from deploy import loading
from deploy.loading import imported
from streams.errors import ConfigError


def write(folder: Path, **files: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (folder / f"{name}.py").write_text(text)
    return folder / "feed.py"


def refusal(path: Path) -> str:
    with pytest.raises(ConfigError) as raised:
        imported(path, "feed")
    assert str(raised.value).isprintable()
    assert len(str(raised.value)) < 600
    return str(raised.value).removeprefix(f"{path.parent}/")


def test_modules_of_one_name_beside_two_files_do_not_mix(tmp_path: Path) -> None:
    paths = [write(tmp_path / name, feed="from schema import X", schema=f"X = {name!r}") for name in ("a", "b")]
    modules = [imported(path, "feed") for path in (*paths, *paths)]
    assert [module.X for module in modules] == ["a", "b", "a", "b"]
    only = write(tmp_path / "c", feed="import schema")
    assert "No module named 'schema'" in refusal(only)


def test_two_files_of_one_name_in_folders_of_one_name_are_two_modules(tmp_path: Path) -> None:
    paths = [write(tmp_path / name / "mine", feed=f"X = {name!r}") for name in ("a", "b")]
    modules = [imported(path, "feed") for path in paths]
    assert len({module.__name__ for module in modules}) == 2
    assert [sys.modules[module.__name__].X for module in modules] == ["a", "b"]


def test_packages_and_plain_folders_beside_the_file(tmp_path: Path) -> None:
    path = write(
        tmp_path, feed="from package.inner import A\nfrom plain.inner import B\nimport lazily\nC = lazily.get()"
    )
    write(tmp_path / "package", __init__="", inner="from . import other\nA = other.A", other="A = 1")
    write(tmp_path / "plain", inner="B = 2")
    write(tmp_path, lazily="def get():\n    from later import C\n    return C", later="C = 3")
    module = imported(path, "feed")
    assert (module.A, module.B, module.C) == (1, 2, 3)


def test_neither_python_s_modules_nor_ours_are_replaced(tmp_path: Path) -> None:
    path = write(tmp_path, feed="import graphlib, streams.hosts\nA = graphlib.TopologicalSorter, streams.hosts.parse")
    write(tmp_path, graphlib="", streams="", json="")
    (tmp_path / "numpy").mkdir()  # a plain folder gives way to what is installed
    assert imported(path, "feed").A
    assert imported(write(tmp_path, feed="import numpy\nB = numpy.float32"), "feed").B


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("import no_such_thing", "feed.py:1: ModuleNotFoundError: No module named 'no_such_thing'; no such"),
        ("\nimport beside", "feed.py:2: beside.py:3: ZeroDivisionError: division by zero"),
        ("\nimport broken", "feed.py:2: broken.py:1: SyntaxError: "),
        ("import far", "feed.py:1: far.py:1: ModuleNotFoundError: No module named 'nowhere_at_all'"),
        ("x = 1\ny = (", "feed.py:2: SyntaxError: '(' was never closed"),
        ("from . import beside", "feed.py:1: write `import NAME`, not `from . import NAME`"),
        ("import sys\nsys.exit(3)", "feed.py:2: it ends the process (sys.exit)"),
        ("raise ValueError('a\\nb' * 1_000)", "feed.py:1: ValueError: a ba b"),
        ("from streams.errors import ConfigError\nraise ConfigError('mine')", "feed.py:2: mine"),
        ("from shadowstream import fields\nfields(idd='x')", "fields has no parameter 'idd'; did you mean 'id'"),
        ("import shadowstream\nshadowstream.Feed(nam='x')", "Feed has no parameter 'nam'; did you mean 'name'?"),
        ("from shadowstream import Feed\nFeed(name='x')", "feed.py:2: Feed needs prediction=..., outcome=..."),
        ("from shadowstream import Online\nOnline(batch=0)", "feed.py:2: Online.batch must be"),
    ],
)  # fmt: skip
def test_a_failure_says_its_file_and_line(text: str, said: str, tmp_path: Path) -> None:
    path = write(tmp_path, feed=text, beside="\n\n1 / 0", broken="x = (", far="import nowhere_at_all")
    assert said in refusal(path)


def test_a_folder_and_other_files(tmp_path: Path) -> None:
    assert "is a folder; name the file in it, such as" in refusal(tmp_path)
    (tmp_path / "feed.txt").write_text("x = 1")
    assert "not a Python file" in refusal(tmp_path / "feed.txt")
    (tmp_path / "null.py").write_bytes(b"x = 1\0")
    assert "null.py: " in refusal(tmp_path / "null.py")
    (tmp_path / "latin.py").write_bytes(b"x = '\xe9'")
    assert "latin.py" in refusal(tmp_path / "latin.py")


def test_a_file_that_failed_leaves_no_module(tmp_path: Path) -> None:
    before = set(sys.modules)
    refusal(write(tmp_path, feed="1 / 0"))
    assert set(sys.modules) == before
    assert sys.meta_path.count(loading.BESIDE) == 1


def test_a_linked_file_finds_what_lies_beside_the_real_one(tmp_path: Path) -> None:
    real = write(
        tmp_path / "real",
        feed="from schema import ID\nfrom shadowstream import Feed, fields\n"
        "feed = Feed(name=ID, prediction=fields(id='a'), outcome=fields(id='a', label='y'))",
        schema="ID = 'linked'",
    )
    link = tmp_path / "feed.py"
    link.symlink_to(real)
    assert feeds.load(link).name == "linked"
