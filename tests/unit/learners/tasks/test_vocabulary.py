"""Names of classes: text is a label, and a wrong one is told the nearest."""

import dataclasses
from typing import Any

import pytest

from learners.tasks.classes import Classes
from learners.tasks.multilabel import MultiLabel
from shadowstream import MalformedEvent
from tests import small
from tests.clicks import record

PETS = Classes(["cat", "dog", "bird"])  # type: ignore[arg-type]  # a list is taken as well


def test_a_pipeline_s_label_becomes_its_index_where_it_is_read() -> None:
    outcome = dataclasses.replace(small.pipeline, task=PETS).as_feed().outcome
    assert outcome(record(b'{"id":"a","label":"bird"}')).body == b"2.0"
    assert outcome(record(b'{"id":"a","label":1}')).body == b"1.0"
    with pytest.raises(MalformedEvent, match="no class is called 'brid'; did you mean 'bird'"):
        outcome(record(b'{"id":"a","label":"brid"}'))


@pytest.mark.parametrize(
    ("task", "label", "said"),
    [
        (PETS, "ox", "no class is called 'ox'; there are cat, dog, bird"),
        (PETS, 3.0, "a class label is a whole number from 0 to 2, or a name, got 3.0"),
        (Classes(3), "cat", "from 0 to 2, got 'cat'; text needs a task with the class's names"),
        (Classes(tuple(map(str, range(90)))), "n/a", "there are 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, …"),
    ],
)
def test_an_unknown_class_is_told_what_there_is(task: Classes, label: Any, said: str) -> None:
    with pytest.raises(MalformedEvent, match=said):
        task.target(label)


def test_any_of_several_classes_are_a_list_of_names() -> None:
    outcome = dataclasses.replace(small.pipeline, task=MultiLabel(("cat", "dog", "bird"))).as_feed().outcome
    assert outcome(record(b'{"id":"a","label":["bird","cat"]}')).body == b"[1.0,0.0,1.0]"
    assert outcome(record(b'{"id":"a","label":[0,true,0]}')).body == b"[0.0,1.0,0.0]"
    for label, said in (
        (b'"cat"', "a list of 3 numbers, 0 or 1, or of names, got 'cat'"),
        (b'["ox"]', "there are cat"),
    ):
        with pytest.raises(MalformedEvent, match=said):
            outcome(record(b'{"id":"a","label":%b}' % label))
