"""A feed that begins with what another one has learned: what is taken, what must fit, and whose word is taken."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from msgspec import Raw, Struct

from compressors.recipe import Prune, Quantize, Recipe
from deploy import config
from deploy.changes.plan import describe
from deploy.learning.blocks import tell
from deploy.learning.candidates import make_learner
from deploy.learning.distiller import DistillerRole
from deploy.operate.versions import lineage
from deploy.operate.versions.versions import remake
from deploy.pipeline import Labelled, Pipeline
from deploy.registry.commits import read
from deploy.registry.kinds import CANDIDATES, CHAMPIONS, COMMITS, PIPELINES
from deploy.registry.opening import open_registry, sign
from deploy.registry.rebuild import check, rebuild
from deploy.registry.records import Begun, Champion
from deploy.registry.registry import Registry
from deploy.registry.storage.home import at
from deploy.run.begun import beginning
from deploy.serving.live import Followed
from learners.live.settings import Live, Wide
from learners.tasks.regression import Regression
from streams.errors import ConfigError, Untrusted
from streams.events import Sample
from streams.join.policy import JoinPolicy
from streams.join.store import Store
from tests import small
from tests.learned import ONLINE, RECIPE, Feed, begun

SHOPS = ("a", "b", "c")
FILE = """
from dataclasses import replace
from tests.integration.learning.test_begun import SHOP
pipeline = replace(SHOP, name={name!r})
"""


class Visit(Struct):
    """A point that is in a shop."""

    x: tuple[float, float, float, float]
    shop: str = "a"


def history() -> Iterator[Labelled]:
    """Yield points in shops, in turn."""
    for i, row in enumerate(islice(small.history(), 200)):
        yield Labelled(Visit(row.features.x, SHOPS[i % 3]), row.label)


SHOP = Pipeline(
    name="shop",
    model=small.net,
    features=Visit,
    encode=small.encode,
    recipe=RECIPE,
    online=replace(ONLINE, history_passes=1),
    live=Live(wide=Wide(bits=10)),
    history=history,
)
SETTINGS = config.Settings()


def log(n: int, seed: int = 0) -> list[Sample]:
    """Return samples of visits, in order of time."""
    made = []
    for i, one in enumerate(small.samples(n, seed)):
        features = Raw(bytes(one.prediction.features)[:-1] + b',"shop":"%s"}' % SHOPS[i % 3].encode())
        made.append(msgspec.structs.replace(one, prediction=msgspec.structs.replace(one.prediction, features=features)))
    return made


def learn(feed: Feed, name: str = "shop") -> None:
    """Join and learn all, and have the first candidate serve; the log leads to the learner's state."""
    role = feed.learner(20, every_days=1)
    while feed.states[0].partitions["p:0"].next < len(feed.log):
        feed.join(most=20)
        role.step(1)
    feed.finish(role)
    feed.check(role)
    distiller = DistillerRole(replace(feed.pipeline, name=name), feed.store, feed.registry)
    while distiller.step(0):
        pass
    made = feed.registry.record(CANDIDATES, 0)
    assert made is not None
    champion = Champion(
        number=1, artifact=made.artifact, candidate=0, offset=(0.25,), at_ms=5, learned=made.learned, evidence="a test"
    )
    feed.registry.create(CHAMPIONS, 1, champion)


def moved(folder: Path, to: Path) -> Path:
    """Copy a registry to another place."""
    for path in folder.rglob("*"):
        if path.is_file():
            (to / path.relative_to(folder)).parent.mkdir(parents=True, exist_ok=True)
            (to / path.relative_to(folder)).write_bytes(path.read_bytes())
    return to


@pytest.fixture(scope="module")
def other(embedded_store: Store, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a feed that has learned, in the middle of a batch, and whose second version serves."""
    folder = tmp_path_factory.mktemp("other")
    feed = Feed(embedded_store, begun(folder / "first", SHOP), folder / "shop", log(207), pipeline=SHOP)
    learn(feed)
    describe(SHOP, JoinPolicy(), feed.registry)
    sign(open_registry(feed.registry.folder))
    return feed.registry.folder


class New:
    """A feed that is to begin, its settings, and what was said."""

    def __init__(self, folder: Path, pipeline: Pipeline, settings: config.Settings) -> None:
        self.pipeline, self.settings, self.said = pipeline, settings, list[str]()
        self.home = at(folder / pipeline.name)
        self.path = folder / "pipeline.py"
        self.path.write_text(FILE.format(name=pipeline.name))

    @property
    def registry(self) -> Registry:
        return open_registry(self.home)

    @property
    def first(self) -> Champion:
        found = self.registry.record(CHAMPIONS, 0)
        assert found is not None
        return found

    @property
    def whose(self) -> Begun:
        assert self.first.begun is not None
        return self.first.begun

    def begin(self, source: Path | str, *, fresh: bool = False) -> bool:
        """Begin; return False where it has begun from there already."""
        made = beginning(str(source), self.pipeline, self.settings, self.home, fresh=fresh)
        if made is None:
            return False
        self.learner = made.make(self.pipeline, self.registry, self.said.append)
        return True


Make = Callable[..., New]


@pytest.fixture
def new(tmp_path: Path) -> Make:
    """Makes a feed that is to begin, of the same pipeline but for what is given."""

    def made(name: str = "new", registry: config.Registry | None = None, **more: Any) -> New:
        folder = tmp_path / "registry"
        folder.mkdir(exist_ok=True)
        settings = msgspec.structs.replace(SETTINGS, registry=registry or config.Registry(path=str(folder)))
        return New(folder, replace(SHOP, name=name, **more), settings)

    return made


def folded(pipeline: Pipeline, registry: Registry) -> Any:
    """Return the learner as it is at a registry's newest commit."""
    learner = make_learner(pipeline)
    rebuild(learner, registry, registry.last(COMMITS))
    return learner


def answers(pool: Any, rows: Sequence[Visit]) -> torch.Tensor:
    deep = torch.zeros(len(rows), 1, dtype=torch.float64).numpy()
    return torch.tensor(pool.answer(rows, deep, (0.5,))[1])


def test_it_begins_with_the_champion_the_weights_and_the_live_experts_and_counts_nothing(
    other: Path, new: Make, embedded_store: Store
) -> None:
    feed, there = new(), Registry(other)
    assert feed.begin(other)
    theirs, ours = folded(SHOP, there), folded(feed.pipeline, feed.registry)
    assert theirs.gathered
    theirs._step()  # as of a batch that ends early
    for name, tensor in theirs.teacher.state().items():
        assert torch.equal(tensor, ours.teacher.state()[name]), name
    for name, tensor in theirs.shadow.state().items():
        assert torch.equal(tensor, ours.shadow.state()[name]), name
    assert (ours.learned, ours.gathered, ours.intercept.value) == (0, 0, theirs.intercept.value)
    rows = [Visit((0.1, 0.2, 0.3, 0.4), shop) for shop in SHOPS]
    assert torch.equal(answers(ours.live, rows), answers(theirs.live, rows))
    assert len(theirs.live.held)
    assert not len(ours.live.held)
    version = there.record(CHAMPIONS, 1)
    assert version is not None
    assert (feed.first.artifact, feed.first.offset, feed.first.learned) == (version.artifact, version.offset, 0)
    assert feed.registry.get(version.artifact) == there.get(version.artifact)
    first = read(feed.registry, 0)
    assert (first.positions, first.learned, first.samples) == ({}, 0, [])
    assert feed.said == [f"begun from {feed.whose}, which serves; learning goes on from its commit "
                         f"{there.last(COMMITS)}, 207 samples, live experts too"]  # fmt: skip
    tell(embedded_store, feed.pipeline.name, feed.learner)
    servers = Followed(feed.pipeline, embedded_store)
    servers.refresh()
    said = servers.answer(rows, torch.zeros(3, 1, dtype=torch.float64))
    wanted = theirs.live.answer(rows, torch.zeros(3, 1, dtype=torch.float64).numpy(), theirs.intercept.value)[1]
    assert torch.equal(torch.tensor(said.served)[:, 0], torch.tensor(wanted.round(6)))


def test_what_follows_needs_nothing_of_the_other_registry(
    other: Path, new: Make, embedded_store: Store, tmp_path: Path
) -> None:
    away = moved(other, tmp_path / "away")
    feed = new()
    assert feed.begin(away)
    away.rename(tmp_path / "gone")
    kept = tmp_path / "kept"
    kept.mkdir()
    on = Feed(embedded_store, feed.home.folder, kept / "new", log(83, seed=5), pipeline=feed.pipeline)
    learn(on, "new")
    assert check(make_learner(feed.pipeline), on.registry).learned > 0
    settings = msgspec.structs.replace(feed.settings, registry=config.Registry(path=str(kept)))
    assert remake(feed.path, settings, 1, full=True).equal


def test_its_versions_say_whose_the_first_one_was_and_it_is_not_made_again(other: Path, new: Make) -> None:
    feed = new()
    feed.begin(other)
    shown = lineage.show(feed.path, feed.settings, 0)
    assert shown.version.begun == feed.whose
    assert (feed.whose.feed, feed.whose.version, feed.whose.learned) == ("shop", 1, 207)
    assert feed.whose.home == str(other)
    for text in ("begun from v1 of 'shop' in", feed.whose.key, feed.whose.record, "after 207 samples"):
        assert text in str(shown.version.brought)
    assert not shown.log
    with pytest.raises(ConfigError, match=r"version 0 is v1 of 'shop' in .*: this feed began with it"):
        remake(feed.path, feed.settings, 0)


@pytest.mark.parametrize(
    ("more", "part"),
    [
        ({"task": Regression()}, "task: .*labels and answers mean something else"),
        ({"model": lambda: torch.nn.Linear(4, 1)}, "model, weights: .*the weights are of that one"),
        (
            {"recipe": Recipe(Prune(amount=0.6, scope="layer"), Quantize("int8"))},
            "recipe: .*its masks and units are of that one",
        ),
        ({"encode": lambda points: tuple(1 - t for t in small.encode(points))}, "encode: another .*answers otherwise"),
    ],
)
def test_a_pipeline_that_does_not_fit_is_refused_by_its_part(
    other: Path, new: Make, more: dict[str, Any], part: str
) -> None:
    feed = new(**more)
    with pytest.raises(ConfigError, match=f"does not fit this pipeline: {part}.*without --from it begins anew"):
        feed.begin(other)
    assert not feed.home.folder.exists()


def test_live_experts_that_do_not_fit_begin_anew_and_a_line_says_so(other: Path, new: Make) -> None:
    feed = new(live=Live(wide=Wide(bits=11)))
    feed.begin(other)
    assert feed.said[0] == "another than there: live, bits: 10 -> 11"
    assert feed.said[1].endswith("; live experts begin anew (live, bits: 10 -> 11)")
    theirs, ours = folded(SHOP, Registry(other)), folded(feed.pipeline, feed.registry)
    theirs._step()
    assert torch.equal(theirs.teacher.state()["model.0.weight"], ours.teacher.state()["model.0.weight"])
    assert not ours.live.news.known


def test_a_state_of_live_experts_that_cannot_be_loaded_is_left(other: Path, new: Make, tmp_path: Path) -> None:
    away = moved(other, tmp_path / "away")
    described = Registry(away).record(PIPELINES, 0)
    assert described is not None
    feed = new(live=Live(wide=Wide(bits=11)))
    parts = described.parts | {"live": {**described.parts["live"], "bits": "11"}}  # as if nothing were another
    (away / PIPELINES.object(0)).unlink()
    Registry(away).create(PIPELINES, 0, msgspec.structs.replace(described, parts=parts))
    sign(open_registry(away))
    feed.begin(away)
    assert "; live experts begin anew (their state does not fit: " in feed.said[0]


def test_only_what_a_trusted_key_has_signed_is_taken(other: Path, new: Make, tmp_path: Path) -> None:
    away = moved(other, tmp_path / "away")
    name = away / CHAMPIONS.object(1)
    name.write_bytes(name.read_bytes().partition(b"\n")[0])
    with pytest.raises(Untrusted, match=r"champion/1 is not signed.*`shadowstream sign` there"):
        new().begin(away)
    mine = config.Registry(path=str(tmp_path), trusted=str(tmp_path / "mine.pub"))
    open_registry(tmp_path / "keys")
    (tmp_path / "mine.pub").write_bytes((tmp_path / "keys" / "receipts.pub").read_bytes())
    with pytest.raises(Untrusted, match=r"not one of registry\.trusted"):
        new(registry=mine).begin(other)
    theirs = config.Registry(path=str(tmp_path), trusted=str(other / "receipts.pub"))
    assert new(registry=theirs).begin(other)


def test_a_start_again_is_an_ordinary_one_also_where_the_other_registry_has_moved(
    other: Path, new: Make, tmp_path: Path
) -> None:
    feed = new()
    assert feed.begin(other)
    assert not feed.begin(other)
    assert not feed.begin(moved(other, tmp_path / "yesterday"))
    begun(tmp_path / "third", SHOP)
    sign(open_registry(tmp_path / "third"))
    with pytest.raises(ConfigError, match=r"was begun from v1 of 'shop' in .*, and not from .*third"):
        feed.begin(tmp_path / "third")


def test_a_feed_that_has_begun_of_its_own_and_a_registry_s_own_feed_are_refused(other: Path, new: Make) -> None:
    feed = new("own")
    begun(feed.home.folder, feed.pipeline)
    with pytest.raises(ConfigError, match="has begun already, of its own: --from is for a first start"):
        feed.begin(other)
    with pytest.raises(ConfigError, match="that is this feed's own registry"):
        feed.begin(feed.home.folder, fresh=True)


def test_a_registry_of_several_feeds_is_to_name_one(other: Path, new: Make, tmp_path: Path) -> None:
    several = tmp_path / "several"
    moved(other, several / "one")
    assert new().begin(several)
    moved(other, several / "two")
    with pytest.raises(ConfigError, match=r"there are the feeds one and two; name one, as in --from .*several/one"):
        new("next").begin(several)
    assert new("next").begin(f"{several}/two/")
    with pytest.raises(ConfigError, match="nothing was learned there; name another feed's folder"):
        new("last").begin(tmp_path / "nowhere")


def test_a_start_that_was_cut_off_goes_on_and_one_that_began_otherwise_is_refused(other: Path, new: Make) -> None:
    feed = new()
    feed.begin(other)
    (feed.home.folder / CHAMPIONS.object(0)).unlink()
    assert feed.begin(other)
    (feed.home.folder / CHAMPIONS.object(0)).unlink()
    odd = new(seed=1)
    begun(feed.home.folder.parent / "odd", replace(SHOP, name="odd", seed=1))
    (feed.home.folder.parent / "odd" / CHAMPIONS.object(0)).unlink()
    odd.home = at(feed.home.folder.parent / "odd")
    with pytest.raises(ConfigError, match="has the first commit of a start that was cut off"):
        odd.begin(other)
