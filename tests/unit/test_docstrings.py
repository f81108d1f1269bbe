"""Every public class and function says what it is, and shows it: the examples in its docstring run, as printed."""

import doctest
import inspect
from collections.abc import Iterator
from typing import Any

import pytest

import shadowstream

NAMES = [
    name
    for name in shadowstream.__all__
    if inspect.isclass(one := getattr(shadowstream, name)) or inspect.isroutine(one)
]


def examples(name: str) -> Iterator[doctest.DocTest]:
    one: Any = getattr(shadowstream, name)
    namespace = {public: getattr(shadowstream, public) for public in shadowstream.__all__}
    for test in doctest.DocTestFinder(recurse=inspect.isclass(one)).find(one, name, globs=namespace):
        if test.examples:
            yield test


@pytest.mark.parametrize("name", NAMES)
def test_the_examples_of_a_public_name_run(name: str) -> None:
    tests = list(examples(name))
    assert tests, f"shadowstream.{name} has no example in its docstring"
    runner = doctest.DocTestRunner(optionflags=doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE)
    said: list[str] = []
    for test in tests:
        runner.run(test, out=said.append)
    assert not runner.failures, "".join(said)
