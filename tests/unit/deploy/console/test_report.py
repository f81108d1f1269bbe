"""The tables at the end of a run."""

from dataclasses import replace
from io import StringIO

import msgspec
from msgspec import structs
from rich.console import Console

from compressors.artifact.format import Description
from compressors.artifact.stored import Stored
from deploy.console.loop.report import ended, figures, size
from deploy.console.loop.view import draw, versions
from deploy.registry.records import Privacy
from tests.unit.deploy.console import views
from tests.unit.deploy.console.test_counters import lines
from tests.unit.deploy.console.views import champion
from tests.unit.deploy.run.test_summary import summary


def described(*kinds: str) -> Description:
    weights = {
        str(n): Stored(shape=(8, 8), weights=kind, group=None, sparsity=0.76, bytes=64, inputs={})
        for n, kind in enumerate(kinds)
    }
    return Description(
        digest="", format=3, bytes=1_000, float_bytes=6_300, sparsity=0.76, sparsity_all=0.7, weights=weights, left={},
        manifest={},
    )  # fmt: skip


def test_the_size_names_the_numbers_that_were_stored() -> None:
    assert size(described("int4", "int4")) == (
        "compressed weights: int4, 76 % of them zero; 1,000 bytes, in float 6,300: 6.3 times smaller"
    )
    assert size(described("int8", "bfloat16")).startswith("compressed weights: bfloat16, int8, ")
    assert size(described()).startswith("compressed weights: none, ")
    assert size(replace(described(), float_bytes=500)).endswith("in float 500: 2.0 times larger")


def test_what_became_of_it_all_is_shown_under_the_names_of_the_json() -> None:
    made = summary(refused=7)
    rows = lines(figures(made))
    assert {name: int(count) for name, count, _ in rows}.items() <= msgspec.to_builtins(made).items()
    assert [name for name, _, _ in rows][:3] == ["requests", "refused", "predictions"]
    assert all(meaning for _, _, meaning in rows)


def test_a_replay_says_why_records_were_refused_since_their_letters_end_with_its_broker() -> None:
    console = Console(width=120, record=True, file=StringIO())
    ended(console, structs.replace(summary(refused=7), reasons={"ValueError: [a PNG]": 7, "not JSON": 2}))
    text = console.export_text()
    assert "why records were refused" in text
    assert "ValueError: [a PNG] │ 7 " in text
    ended(console, structs.replace(summary(refused=0), reasons={}))
    assert "why records" not in console.export_text()


def test_versions_of_private_updates_show_what_they_may_tell() -> None:
    told = [
        structs.replace(champion(n, n - 1 if n else None), privacy=Privacy(epsilon=1.3565 * n, delta=1e-5))
        for n in (0, 1)
    ]
    console = Console(width=120, record=True, file=StringIO())
    console.print(versions(views.view(champions=told)), draw(views.view(champions=told)))
    text = console.export_text()
    assert "ε 0.00, δ 1e-05" in text
    assert text.count("ε 1.36, δ 1e-05") == 2
    console.print(versions(views.view()), draw(views.view()))
    assert "privacy" not in console.export_text()
