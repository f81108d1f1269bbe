"""The advisor: what fits, what is best, what is picked and why, and that a search goes on where it was stopped."""

import math
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from compressors.advisor.advise import advise, choose, front, usual
from compressors.advisor.picture import draw
from compressors.advisor.search import RUNGS, Budget, Trial
from compressors.engines.engine import Engine
from compressors.recipe import Recipe, Retrain
from tests.unit.compressors.problems import Squared, net, product_rows

pytestmark = pytest.mark.filterwarnings("error::compressors.errors.EmptiedWarning")  # the loss tells it
torch.set_num_threads(1)  # these nets are too small to share among threads, which would only wait for each other
RECIPES = [Recipe.parse(text) for text in ("quantize(int8)", "quantize(bfloat16)", "quantize(int2, inputs=float)",
                                           "prune(amount=0.9)", "prune(amount=0.5) -> quantize(int8)")]  # fmt: skip


def trial(name: str, loss: float, bytes_: int, latency_us: float, share: float = 1.0, error: float = 0.0) -> Trial:
    return Trial(recipe=name, share=share, loss=loss, error=error, bytes=bytes_, latency_us=latency_us)


def test_of_those_within_a_standard_error_the_fastest_is_picked() -> None:
    trials = [trial("best", 0.10, 50, 9.0, error=0.02), trial("close", 0.11, 60, 4.0), trial("worse", 0.13, 10, 1.0)]
    pick, why = choose(trials, Budget())
    assert pick is not None
    assert pick.recipe == "close"
    assert why.startswith(
        "recipes that fit the budget: 3; within one standard error of the lowest loss (+0.1000 ± 0.02"
    )
    assert "): 2; this one is the fastest" in why


def test_only_what_fits_is_picked_and_else_it_is_said_how_near_one_came() -> None:
    trials = [trial("best", 0.10, 50, 9.0), trial("small", 0.4, 20, 2.0), Trial(recipe="x", share=1.0, refused="no")]
    pick, _ = choose(trials, Budget(bytes=30))
    assert pick is not None
    assert pick.recipe == "small"
    none, why = choose(trials, Budget(bytes=10))
    assert none is None
    assert "the smallest takes 20 bytes, the fastest 2 µs, and the lowest loss is +0.1000" in why
    assert choose(trials, Budget(latency_us=5, loss=0.2))[0] is None
    assert "no recipe could" in choose(trials[2:], Budget())[1]


def test_a_trial_on_fewer_rows_is_no_match_for_a_full_one() -> None:
    pick, _ = choose([trial("early", 0.0, 1, 1.0, share=1 / 27), trial("whole", 0.5, 9, 9.0)], Budget())
    assert pick is not None
    assert pick.recipe == "whole"


@given(st.lists(st.tuples(*[st.integers(0, 4)] * 3), max_size=12))
def test_nothing_on_the_front_is_beaten_and_all_else_is(figures: Sequence[tuple[int, int, int]]) -> None:
    trials = [trial(str(i), loss, size, took) for i, (loss, size, took) in enumerate(figures)]
    best = front(trials)
    for one in trials:
        ours = (one.loss, one.bytes, one.latency_us)
        rivals = [(t.loss, t.bytes, t.latency_us) for t in trials]
        beaten = any(r != ours and all(a <= b for a, b in zip(r, ours, strict=True)) for r in rivals)
        assert (one in best) is not beaten


def test_the_search_ends_on_all_rows_with_its_best_and_can_be_drawn(tmp_path: Path) -> None:
    said: list[tuple[int, int, float]] = []
    advice = advise(net(), product_rows(), Squared(), Budget(), RECIPES, engines=(), said=lambda *at: said.append(at))
    assert advice.complete
    assert {t.recipe for t in advice.trials} == {str(r) for r in RECIPES}
    assert sorted({t.share for t in advice.trials}) == list(RUNGS)
    assert advice.pick in advice.front
    assert said[-1] == (11, 11, 0.0)
    for name in ("a.svg", "a.png"):
        draw(advice, tmp_path / name)
        assert (tmp_path / name).stat().st_size > 1_000


def test_a_search_that_was_stopped_gives_the_best_so_far_and_goes_on(tmp_path: Path) -> None:
    notes = tmp_path / "notes.jsonl"

    def stop(done: int, of: int, left: float) -> None:
        if done == 3:
            raise KeyboardInterrupt

    advice = advise(net(), product_rows(), Squared(), Budget(), RECIPES, engines=(), notes=notes, said=stop)
    assert not advice.complete
    assert len(advice.trials) == 3
    assert advice.pick is not None
    with notes.open("ab") as out:
        out.write(b'{"recipe": "cut sho')
    tried = notes.read_bytes().count(b"\n")
    whole = advise(net(), product_rows(), Squared(), Budget(), RECIPES, engines=(), notes=notes)
    assert whole.complete
    assert notes.read_bytes().count(b"\n") == 12
    assert tried == 4
    again = advise(net(), product_rows(), Squared(), Budget(), RECIPES, engines=(), notes=notes)
    assert again == whole
    torch.manual_seed(9)
    advise(nn.Linear(6, 1), product_rows(), Squared(), Budget(), RECIPES[:1], engines=(), notes=notes)
    assert notes.read_bytes().count(b"\n") > 12, "another model is tried afresh"


def test_an_artifact_is_timed_on_the_engine_that_is_fastest_once_for_each_set_of_layers() -> None:
    asked = []

    def prepare(model: nn.Module, inputs: Sequence[torch.Tensor]) -> nn.Module:
        asked.append(model)
        return model

    advice = advise(
        net(), product_rows(), Squared(), Budget(rows=8), RECIPES, engines=[Engine(name="same", prepare=prepare)]
    )
    assert {t.engine for t in advice.trials} <= {"same", "torch"}
    assert len(asked) == 2, "whole rows in int8, and rounded weights in float; which ones takes as long"
    assert (advice.plain.engine, advice.plain.loss) == ("torch", 0)
    assert advice.plain.bytes == 4 * sum(p.numel() for p in net().parameters())


def test_time_that_is_up_ends_it() -> None:
    advice = advise(net(), product_rows(), Squared(), Budget(minutes=1e-9), RECIPES, engines=())
    assert (advice.complete, advice.trials, advice.pick) == (False, [], None)
    assert advice.why == "the search ended before a recipe was tried"


def test_a_recipe_that_comes_to_nothing_is_kept_with_its_reason() -> None:
    advice = advise(
        net(),
        product_rows(),
        Squared(),
        Budget(),
        [Recipe.parse("prune(amount=0.5, layers=conv)"), RECIPES[0]],
        engines=(),
    )
    refused = [t for t in advice.trials if t.refused]
    assert [("compresses no layer" in t.refused, t.loss) for t in refused] == [(True, math.inf)]
    assert advice.pick is not None


@pytest.mark.parametrize(
    "wrong", [{"latency_us": 0.0}, {"bytes": -1}, {"minutes": math.nan}, {"loss": -0.1}, {"rows": 0}]
)
def test_a_budget_out_of_bounds_is_refused_by_name(wrong: dict[str, float]) -> None:
    (name,) = wrong
    with pytest.raises(ValueError, match=rf"budget\.{name} .*got"):
        Budget(**wrong)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="no recipes"):
        advise(net(), product_rows(), Squared(), Budget(), [])


def test_the_usual_recipes_are_sound_and_differ() -> None:
    assert len({r.digest() for r in usual(Retrain())}) == len(usual(Retrain())) == 33
