"""The live view and its picture."""

from io import StringIO
from pathlib import Path

import msgspec
import pytest
from rich.console import Console

from deploy.console.join.counters import counters
from deploy.console.loop.picture import Snapshot, svg
from deploy.console.loop.terminal import Plain
from deploy.console.loop.view import draw, months, slices, versions
from deploy.console.words import fate_line, values
from deploy.monitor import View
from deploy.registry.kinds import COUNTERS
from deploy.registry.notes import CanaryNote, Distrusted, MetricName, Row, TrialNote, Worst
from deploy.registry.pulse import PulseNote
from learners.evaluation.drift import Change
from tests.unit.deploy.console.views import BEGIN_MS, candidate, metrics, view


def drawn(look: View, width: int = 104) -> str:
    out = StringIO()
    Console(file=out, width=width).print(draw(look))
    return out.getvalue()


def test_a_candidate_takes_one_line_that_says_what_became_of_it() -> None:
    text = drawn(view())
    assert [line.split() for line in text.splitlines() if "02-01 " in line] == [
        ["│", "0", "02-01", "became", "v1", "02-10", "-0.0086", "e^4.1", "of", "e^3.9", "2,112", "│"]
    ]
    for part in ("refused: unlikely to win", "being tested", "e^1.7 of e^3.9", "waits for its test", "v1, for 14 days"):
        assert part in text
    assert fate_line(candidate(0), view()) == (
        "became v1 on 2013-02-10: log loss -0.0086 nats a sample, evidence e^4.1 of e^3.9 after 2,112 samples"
    )


def test_a_canary_is_shown_with_its_share_and_how_far_its_step_is() -> None:
    first, second = view().champions
    shares = [msgspec.structs.replace(second, number=n, share=share) for n, share in ((1, 0.01), (2, 0.1))]
    look = view(champions=[first, *shares], canary=CanaryNote(2, 123, 500, 0.4, 1.0, 1_800, 0.0031))
    text = " ".join(drawn(look, 300).split())
    assert "serving v0; v2: 10 % of requests" in text
    assert "canary v2, 10 % of requests" in text
    assert (
        "canary: v2 answers 10 % of requests, v0 the others; its step: 123 of 500 outcomes of its own, or 0.4 of 1 "
        "days of them; gain +0.0031 nats a sample over 1,800"
    ) in text
    assert "promotions 0 of 4 candidates" in text
    console = Console(file=(out := StringIO()), width=200)
    console.print(versions(look))
    assert [line.split()[5:8] for line in out.getvalue().splitlines() if " v1 " in line or " v2 " in line] == [
        ["1", "%", "of"],
        ["10", "%", "of"],
    ]
    gone = view(champions=[first, *shares, msgspec.structs.replace(first, number=3, back_to=0)])
    assert "canary v2: ended" in " ".join(drawn(gone, 300).split())


@pytest.mark.parametrize("width", [30, 40, 60, 80])
def test_in_few_columns_no_word_is_cut(width: int) -> None:
    text = drawn(view(), width)
    assert "…" not in text
    assert {"frozen", "e^1.7", "e^3.9", "predictions", "waits", "2,112", "69,160"} <= {*text.split()}


@pytest.mark.parametrize("width", [30, 40, 80])
def test_counters_and_months_are_whole_in_few_columns(width: int) -> None:
    out = StringIO()
    console = Console(file=out, width=width)
    counted = dict.fromkeys(COUNTERS, 1_234_567)
    console.print(counters(counted))
    console.print(months(metrics((MetricName("Huber loss", "min²"), MetricName("mean absolute error", "min")))))
    text = out.getvalue()
    assert "…" not in text
    assert text.count("1,234,567") == len(counted)
    assert all(name in text for name in counted)
    assert text.count("0.5127") >= 1


def test_metrics_are_named_as_the_task_names_them() -> None:
    names = (MetricName("Huber loss", "min²"), MetricName("mean absolute error", "min"))
    measured = metrics(names)
    look = view(metrics=measured)
    text = drawn(look)
    assert "AUC" not in text
    assert "the shadow, asked when outcomes come: Huber loss 0.5103, mean absolute error 0.7125" in text
    assert "log loss" not in text
    for part in (
        "Huber loss, min²",
        "mean absolute error, min",
        "with the live intercept  0.5290 0.6507 +0.0722",
        "with the promotions 0.5168 0.7034 +0.0122",
        "with live experts: served 0.5127 0.7102 +0.0041",
    ):
        assert " ".join(part.split()) in " ".join(text.split())
    assert fate_line(candidate(0), look).startswith("became v1 on 2013-02-10: Huber loss -0.0086 min² a sample")
    assert values(measured.total["served"].values) == "Huber loss 0.5127, mean absolute error 0.7102"
    out = StringIO()
    Console(file=out, width=200).print(months(measured))
    assert out.getvalue().count("Huber loss") == out.getvalue().count("mean absolute error") == 4


def test_what_syncs_have_brought_is_not_said_to_be_that_of_promotions() -> None:
    first, second = view().champions
    sync = msgspec.structs.replace(second, number=3, sync_of=1)
    assert "with promotions and syncs" in drawn(view(champions=[first, second, sync]))


def test_a_loop_that_has_nothing_yet_is_drawn_as_well() -> None:
    empty = view(share=None, metrics=None, champions=[], candidates=[], verdicts={}, trials=(), events_per_second=None)
    text = drawn(empty)
    assert "0 of 0 candidates" in text
    assert "what became of it" not in text


def test_lines_tell_of_a_candidate_when_it_is_made_and_when_it_is_decided() -> None:
    out = StringIO()
    plain = Plain(Console(file=out, width=200), every_s=1e9)
    plain.show(view(verdicts={}))
    plain.show(view())
    plain.show(view())
    lines = [line.split("  ", 1)[1] for line in out.getvalue().splitlines()]
    assert lines[0] == "candidate 0 of 2013-02-01: distilled"
    assert [line for line in lines if line.startswith("candidate 1")] == [
        "candidate 1 of 2013-02-08: distilled",
        "candidate 1 of 2013-02-08: refused: unlikely to win on 2013-02-17: "
        "log loss +0.0004 nats a sample, evidence e^-3.0 of e^3.9 after 2,112 samples",
    ]


def test_what_was_made_elsewhere_is_not_said_to_be_of_this_feed() -> None:
    shown = view(verdicts={})
    brought = msgspec.structs.replace(shown.candidates[0], by="ann", reason="imported: version 3 of shop: better")
    first = msgspec.structs.replace(shown.champions[0], by="ann", evidence="imported")
    of = msgspec.structs.replace(
        shown, candidates=[brought, *shown.candidates[1:]], champions=[first, *shown.champions[1:]]
    )
    out = StringIO()
    Plain(Console(file=out, width=200), every_s=1e9).show(of)
    Console(file=out, width=200).print(versions(of))
    text = out.getvalue()
    assert "candidate 0 of 2013-02-01: imported: version 3 of shop: better" in text
    assert "elsewhere; imported: version 3" in text
    assert "history" not in text


def test_the_worst_slice_and_what_has_changed_take_a_line_each() -> None:
    measured = msgspec.structs.replace(
        metrics(),
        slices={
            "origin": {"EWR": Row(7_000, {"log loss": 0.5301, "AUC": 0.69}), "JFK": Row(9_000, {"log loss": 0.48})}
        },
        worst=Worst("origin", "EWR"),
    )
    look = view(metrics=measured, drift=[Change("wind_speed", "distance", 0.314, 0.05, BEGIN_MS)])
    out = StringIO()
    console = Console(file=out, width=200)
    plain = Plain(console, every_s=1e9)
    plain.show(look)
    plain.show(look)
    console.print(*slices(measured))
    line = "changed: wind_speed: distance 0.31 since 2013-02-01 (0.05 before)"
    assert out.getvalue().count(line) == 1
    assert all(part in out.getvalue() for part in ("What was served, by origin", "EWR", "0.5301", "7,000", "9,000"))
    text = drawn(look)
    assert line in text
    assert "worst slice: origin EWR, log loss 0.5301 over 7,000 samples, 0.5127 over all" in text
    assert "worst slice" not in drawn(view())


def test_a_source_that_is_held_takes_a_line_with_its_time() -> None:
    ends = BEGIN_MS + 90 * 24 * 3_600_000
    look = view(distrusted=(Distrusted("AA", BEGIN_MS, ends, 0.4), Distrusted("UA", BEGIN_MS, None, 0.2)))
    out = StringIO()
    plain = Plain(Console(file=out, width=200), every_s=1e9)
    plain.show(look)
    plain.show(look)
    first = "held: outcomes of AA since 2013-02-01, until 2013-05-02 if nobody judges it; `shadowstream held`"
    assert out.getvalue().count(first) == 1
    assert "held: outcomes of UA since 2013-02-01, until it is released" in out.getvalue()
    assert first in drawn(look, 140)


def test_what_is_refused_is_said_with_the_command_that_shows_why() -> None:
    look, out = view(refused=3_007, counters={"rejected": 12}), StringIO()
    Plain(Console(file=out, width=300)).show(look)
    assert ", 12 rejected, 3,007 requests refused (`shadowstream dead list` shows why), " in out.getvalue()
    text = " ".join(drawn(look).split())
    assert "requests refused 3,007 records rejected 12 why shadowstream dead list" in text
    assert "refused 0" not in drawn(view())


def test_what_is_unread_and_the_age_of_the_newest_commit_are_shown() -> None:
    text = " ".join(drawn(view(pulse=PulseNote(requests_unread=3_007, commit_s=12.4))).split())
    for fact in ("requests unread 3,007", "outcomes unread -", "last commit 12 s ago"):
        assert fact in text


def test_the_picture_is_of_a_moment_at_which_a_candidate_is_tested(tmp_path: Path) -> None:
    snapshot, picture = Snapshot(), tmp_path / "live-view.svg"
    begun = view(share=0.4, trials=(TrialNote(2, 0, 0.0, 3.9),))
    for look in (view(trials=(), share=0.0), view(share=0.3), view(share=0.4, trials=()), begun, view(share=0.9)):
        snapshot.show(look)
    snapshot.write(picture)
    assert picture.read_text() == svg(view(share=0.3))
    assert "being&#160;tested" in picture.read_text()
    Snapshot().write(tmp_path / "none.svg")
    assert not (tmp_path / "none.svg").exists()
