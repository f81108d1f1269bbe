"""What real feeds and real models broke: public bug reports, each as a small input of our own with the right value.

A test says by `@case("streams/01", "ksql#6332")` which case it is and which reports it is from; siblings of a kind
carry their case as well. `python -m tests.cases` runs them all and prints a table.

join.py       `shadowstream join` in a folder of its own, and the means to fill it and to look at it
feeds/        joins
formats/      what events are written as
models/       compression and online learning
"""

import pytest


def case(name: str, *reports: str) -> pytest.MarkDecorator:
    """Mark a test as (a part of) one case: `streams/NN` or `models/NN`, and the public reports that it is from."""
    return pytest.mark.case(name, *reports)
