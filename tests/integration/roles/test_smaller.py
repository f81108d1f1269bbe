"""A pipeline whose recipe removes units: a killed learner resumes; candidates keep the shapes; one serves."""

from dataclasses import replace
from functools import partial
from pathlib import Path

from torch import nn

from compressors.artifact import format as artifact
from compressors.quantization.int8 import Int8Linear
from compressors.recipe import Recipe
from deploy.learning.distiller import DistillerRole
from deploy.promotion.conductor import ConductorRole
from deploy.promotion.evaluator import EvaluatorRole
from deploy.registry.kinds import CANDIDATES, CHAMPIONS, COMMITS
from deploy.serving.champion import Served
from streams.join.store import Store
from tests import small
from tests.learned import PIPELINE, Feed, begun, until

RECIPE = Recipe.parse(
    "prune_structured(amount=0.5) -> distill(passes=1) -> prune(amount=0.6, scope=layer) -> quantize(int8) -> distill"
)
SMALLER = replace(PIPELINE, recipe=RECIPE)


def widths(model: nn.Module) -> list[tuple[int, ...]]:
    served = [tuple(m.columns.shape) for m in model.modules() if isinstance(m, Int8Linear)]
    return served or [tuple(p.shape[::-1]) for p in model.parameters() if p.dim() == 2]


def committed(feed: Feed, number: int) -> bool:
    return feed.registry.last(COMMITS) >= number


def test_a_killed_learner_comes_back_in_its_shapes(
    embedded_store: Store, embedded_store_url: str, tmp_path: Path
) -> None:
    first = begun(tmp_path / "first", SMALLER)
    feed = Feed(embedded_store, first, tmp_path / "registry", small.samples(200), pipeline=SMALLER)
    for start in (0, 3):
        process = feed.process(embedded_store_url)
        for n in range(start, start + 3):
            feed.join(most=25)
            until(partial(committed, feed, n + 1))
        process.kill()
        process.join()
    role = feed.learner()
    feed.finish(role)
    feed.check(role)
    feed.check_refreshed(role)
    assert widths(role._learner.shadow.model) == widths(role._learner.shadow.mean) == [(4, 8), (8, 1)]
    assert widths(role._learner.teacher.model) == [(4, 16), (16, 1)]


def test_candidates_keep_the_shapes_of_the_first_version_and_one_is_served(
    embedded_store: Store, tmp_path: Path
) -> None:
    first = begun(tmp_path / "first", SMALLER)
    feed = Feed(embedded_store, first, tmp_path / "registry", small.samples(1_200), pipeline=SMALLER)
    served = Served(feed.registry, small.net)
    learner, distiller = feed.learner(100, every_days=10), DistillerRole(feed.pipeline, embedded_store, feed.registry)
    evaluator = EvaluatorRole(feed.pipeline, small.timing(2), embedded_store, feed.registry)
    conductor = ConductorRole(feed.name, embedded_store, feed.registry)
    for _ in range(50):
        feed.join(most=24)
        for role in (learner, distiller, evaluator, conductor):
            while role.step(1):
                pass
    candidates = [feed.registry.record(CANDIDATES, n) for n in range(feed.registry.last(CANDIDATES) + 1)]
    artifacts = [feed.registry.get(one.artifact) for one in candidates if one is not None]
    assert len(artifacts) > 2
    shapes = [{name: t.shape for name, t in artifact.floats(packed).items()} for packed in artifacts]
    was = widths(served.champion.running.model)
    assert was == [(4, 8), (8, 1)]
    assert all(one == shapes[0] for one in shapes)
    assert shapes[0]["0.weight"] == (8, 4)
    assert all(one is not None and one.refused is None and one.figures.sparsity >= 0.6 for one in candidates)
    # The samples were answered with 0, which is worse than any model: a candidate must have been promoted.
    until(served.refresh)
    champion = feed.registry.record(CHAMPIONS, served.record.number)
    assert champion is not None
    assert champion.candidate is not None
    assert widths(served.champion.running.model) == was
    inputs = small.encode([small.Point((1.0, -1.0, 0.0, 0.0)), small.Point((-1.0, 1.0, 0.0, 0.0))])
    likely, unlikely = served.answer(inputs).flatten().tolist()
    assert likely > unlikely
