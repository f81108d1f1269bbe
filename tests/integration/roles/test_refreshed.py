"""Candidates of a shadow whose masks are refreshed."""

from pathlib import Path

from compressors.artifact import format as artifact
from deploy.learning.distiller import DistillerRole
from deploy.registry.kinds import CANDIDATES
from streams.join.store import Store
from tests import small
from tests.learned import Feed, begun

MASK = "shadow.model.0.mask"


def test_a_candidate_has_the_masks_of_the_shadow_it_was_made_of(embedded_store: Store, tmp_path: Path) -> None:
    feed = Feed(embedded_store, begun(tmp_path / "first"), tmp_path / "registry", small.samples(400))
    role, distiller = feed.learner(50, every_days=4), DistillerRole(feed.pipeline, embedded_store, feed.registry)
    for _ in range(8):
        feed.join(most=50)
        role.step(1)
    while distiller.step(1):
        pass
    first, regrown = feed.state(0)[MASK], []
    for n in range(feed.registry.last(CANDIDATES) + 1):
        candidate = feed.registry.record(CANDIDATES, n)
        assert candidate is not None
        mask = feed.state(candidate.commit)[MASK]
        weight = artifact.floats(feed.registry.get(candidate.artifact))["0.weight"]
        assert not weight[mask == 0].any()
        regrown.append(bool(weight[mask > first].any()))
    assert any(regrown)
