"""A learner whose shadow loses units: once, as the library removes them, and no other learner may take its state."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import nn

from compressors.artifact import format as artifact
from compressors.carry_out import carry_out
from compressors.compress import compress
from compressors.data import Data
from compressors.errors import EmptiedWarning
from compressors.recipe import Recipe
from deploy.learning import bootstrap, candidates
from deploy.pipeline import Labelled
from deploy.registry.kinds import CHAMPIONS
from deploy.registry.registry import Registry
from learners.commits.state import pack_state, unpack_state
from learners.online.batches import Encoder
from learners.online.learner import Learner
from streams.errors import ConfigError
from tests import small

torch.set_num_threads(1)
REST = "distill(passes=1) -> prune(amount=0.6, scope=lamp) -> quantize(int8) -> distill(passes=1)"
HALF = Recipe.parse(f"prune_structured(amount=0.5) -> {REST}")


def learner(recipe: Recipe = HALF, model: Callable[[], nn.Module] = small.net) -> Learner:
    return Learner(model, small.pipeline.task, Encoder(small.Point, small.encode), recipe, small.pipeline.online, 0)


def rows() -> Data:
    data = candidates.history(small.pipeline)
    assert data is not None
    return data


def shrunk(recipe: Recipe = HALF) -> Learner:
    made = learner(recipe)
    made.shrink(rows())
    return made


def sizes(model: nn.Module) -> list[tuple[int, ...]]:
    return [tuple(p.shape) for p in model.parameters()]


def test_the_chain_is_split_after_the_last_step_that_removes_units() -> None:
    twice = Recipe.parse(f"prune_structured(amount=0.3) -> retrain -> prune_structured(amount=0.3) -> {REST}")
    assert tuple(map(str, twice.split())) == (
        "prune_structured(amount=0.3) -> retrain() -> prune_structured(amount=0.3)",
        str(Recipe.parse(REST)),
    )
    assert Recipe.parse(REST).split() == (Recipe(), Recipe.parse(REST))


def test_the_first_version_is_what_the_library_makes_of_the_teacher(tmp_path: Path) -> None:
    pipeline, data = replace(small.pipeline, recipe=HALF), rows()
    studied = learner()
    studied.study(data)
    made = compress(studied.teacher.mean.requires_grad_(True), HALF, data, pipeline.task, seed=pipeline.seed)
    registry = Registry(tmp_path)
    assert bootstrap.bootstrap(pipeline, registry)
    packed = first_artifact(registry)
    ours, theirs = artifact.load(packed, small.net), made.model
    assert artifact.describe(packed).weights == made.description.weights
    assert artifact.describe(packed).float_bytes == made.description.float_bytes
    assert torch.equal(ours(*data.inputs), theirs(*data.inputs))
    assert artifact.describe(packed).weights["0.weight"].shape == (8, 4)


def first_artifact(registry: Registry) -> bytes:
    champion = registry.record(CHAMPIONS, 0)
    assert champion is not None
    return registry.get(champion.artifact)


def test_the_shadow_and_its_average_lose_units_and_the_teacher_none() -> None:
    made = shrunk()
    assert sizes(made.teacher.model) == sizes(made.teacher.mean) == [(16, 4), (16,), (1, 16), (1,)]
    assert sizes(made.shadow.model) == sizes(made.shadow.mean) == [(8, 4), (8,), (1, 8), (1,)]


def test_a_training_between_two_removals_is_for_the_shadow_alone() -> None:
    made = shrunk(Recipe.parse("prune_structured(amount=0.5) -> retrain(passes=1) -> prune_structured(amount=0.5)"))
    assert sizes(made.shadow.model) == [(4, 4), (4,), (1, 4), (1,)]
    assert torch.equal(made.teacher.model.state_dict()["0.weight"], learner().teacher.model.state_dict()["0.weight"])


def test_a_shadow_in_float_learns_and_is_served() -> None:
    recipe = Recipe.parse("prune_structured(amount=0.5) -> distill(passes=1)")
    made, pipeline = shrunk(recipe), replace(small.pipeline, recipe=recipe)
    made.learn(small.samples(64))
    again = learner(recipe)
    again.load(unpack_state(pack_state(made.state())))
    candidate, figures = candidates.compress(pipeline, again, again.shadow.model, rows())
    assert candidate.refusal is None
    assert figures.float_bytes == 4 * 97
    assert sum(t.numel() for t in artifact.floats(candidate.artifact).values()) == 49


def test_a_shadow_that_has_lost_nothing_yet_does_not_learn() -> None:
    with pytest.raises(ConfigError, match="removes units: shrink the shadow first, or load a state"):
        learner().learn(small.samples(4))


@pytest.mark.parametrize(
    ("of", "to", "said"),
    [
        (f"prune_structured(amount=0.25) -> {REST}", HALF, r"by 'prune_structured\(amount=0.25\)'.*amount=0.5"),
        (HALF, REST, r"by 'prune_structured\(amount=0.5\)', but the recipe now has 'no such step'"),
    ],
)
def test_a_state_of_other_shapes_than_the_recipes_is_refused(of: str | Recipe, to: str | Recipe, said: str) -> None:
    theirs, ours = (Recipe.parse(str(recipe)) for recipe in (of, to))
    with pytest.raises(ConfigError, match=said):
        learner(ours).load(shrunk(theirs).state())


def test_a_state_of_before_the_recipe_removed_units_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"by 'no step', but the recipe now has 'prune_structured\(amount=0.5\)'"):
        learner().load(learner(Recipe.parse(REST)).state())


def test_a_state_of_another_model_is_refused() -> None:
    def narrow() -> nn.Module:
        return nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 1))

    with pytest.raises(ConfigError, match="made of another model than this one: shapes give '0' out_features 8"):
        learner(model=narrow).load(shrunk().state())


def test_a_model_without_units_is_refused_with_the_reason() -> None:
    flat = learner(Recipe.parse("prune_structured(amount=0.5) -> quantize(int8)"), lambda: nn.Linear(4, 1))
    with pytest.raises(ConfigError, match=r"found no units to remove: .*reach the model's output"):
        flat.shrink(rows())


def no_rows() -> list[Labelled]:
    return []


def test_without_rows_no_units_can_be_chosen(tmp_path: Path) -> None:
    said = "prune_structured chooses units of a trained model by rows of history"
    with pytest.raises(ConfigError, match=said):
        replace(small.pipeline, recipe=HALF, history=None)
    empty = replace(small.pipeline, recipe=HALF, history=no_rows)
    with pytest.raises(ConfigError, match=said):
        bootstrap.bootstrap(empty, Registry(tmp_path))


def test_history_is_studied_before_units_are_removed() -> None:
    made, data = shrunk(), rows()
    with pytest.raises(ValueError, match="study comes before shrink"):
        made.study(data)


def test_a_recipe_with_masks_or_rounding_is_not_carried_out_on_a_plain_model() -> None:
    with pytest.raises(ValueError, match="training form"):
        carry_out(
            small.net(),
            Recipe.parse("quantize(int8) -> retrain"),
            rows(),
            small.pipeline.task,
            teacher=small.net(),
            seed=0,
        )


def test_the_loop_warns_of_a_layer_of_which_nothing_is_left() -> None:
    recipe = Recipe.parse("prune(amount=0.5) -> quantize(int8)")
    made, pipeline = learner(recipe), replace(small.pipeline, recipe=recipe)
    with torch.no_grad():
        made.shadow.model.get_parameter("2.weight").mul_(1e-3)
    with pytest.warns(EmptiedWarning, match=r"prune\(amount=0.5\) -> quantize\(int8\) leaves nothing of 2.weight"):
        candidates.compress(pipeline, made, made.shadow.model, rows())
