"""A registry is copied while its feed goes on: whatever happens between two files, the copy is whole at one moment."""

import shutil
import tempfile
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from random import Random
from types import SimpleNamespace

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deploy.registry import backup as module
from deploy.registry import storage
from deploy.registry.backup import LEFT, Copied, back_up
from deploy.registry.kinds import CANDIDATES, CHAMPIONS, COMMITS, STEPS, VERDICTS
from deploy.registry.log.bundler import Bundler
from deploy.registry.log.sealer import Sealer
from deploy.registry.opening import open_registry, unsigned
from deploy.registry.records import CanaryStep
from deploy.registry.registry import Registry
from learners.evaluation.verdict import Decision
from streams.errors import RegistryError
from tests.committed import append, empty
from tests.unit.deploy.console.views import candidate, champion, verdict


@pytest.fixture(autouse=True, scope="module")
def at_once() -> Iterator[None]:
    """Nothing here crashes, so nothing is waited for that lasts."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("os.fsync", lambda _: None)
        yield


def lives(registry: Registry, random: Random) -> Iterator[None]:
    """Do what a run does, a step at a time: commits, candidates, verdicts, versions by a step, syncs, seals."""
    sealer, version = Sealer(storage.Disk(registry.folder), commits=3), count(1)
    bundler = Bundler(storage.Disk(registry.folder), keeps=2, syncs=2)
    append(registry, empty(0))
    first = msgspec.structs.replace(champion(0, None), artifact=registry.put(b"first"))
    registry.create(CHAMPIONS, 0, first)
    yield
    for n in count():
        append(registry, empty(registry.last(COMMITS) + 1))
        yield
        sealer.step()
        yield
        if random.random() < 0.5:
            continue
        made, newest = registry.last(CANDIDATES) + 1, registry.last(COMMITS)
        of = {"number": made, "commit": newest, "artifact": registry.put(b"%d" % n)}
        yield
        registry.create(CANDIDATES, made, msgspec.structs.replace(candidate(1), **of))
        yield
        judged = msgspec.structs.replace(verdict(0, Decision.PROVEN), candidate=made, commit=newest)
        registry.create(VERDICTS, made, judged)
        yield
        for _ in range(2):
            number = next(version)
            of = {"number": number, "candidate": made, "artifact": of["artifact"]}
            registry.create(CHAMPIONS, number, msgspec.structs.replace(champion(1, 0), **of))
            yield
            ended = CanaryStep(
                version=number, against=0, share=0.1, own=1, gain=0.0, samples=1, guards=(), at_ms=0,
                commit=registry.last(COMMITS),
            )  # fmt: skip
            registry.create(STEPS, number, ended)
            yield
        for _ in range(random.randrange(8)):
            synced = {"number": next(version), "candidate": made, "commit": registry.last(COMMITS), "sync_of": number}
            registry.create(CHAMPIONS, synced["number"], msgspec.structs.replace(champion(1, 0), **synced))
            yield
            bundler.step()
            yield


def attacked(seed: int, order: Callable[[Path, Path], Copied] = back_up) -> None:
    """Copy while a run goes on between any two files, twice into one folder, and read the copies."""
    random, folder = Random(seed), Path(tempfile.mkdtemp())
    try:
        registry = open_registry(folder / "live" / "ads")
        life = lives(registry, random)
        for _ in range(random.randrange(1, 60)):
            next(life)

        def turn() -> None:
            for _ in range(random.choice((0, 0, 0, 1, 1, 5))):
                next(life)

        class Hooked(storage.Disk):
            def list(self, folder: str, after: str = "") -> list[str]:
                turn()
                return super().list(folder, after)

            def get(self, name: str) -> bytes | None:
                turn()
                return super().get(name)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(module, "at", lambda where: SimpleNamespace(objects=Hooked(where)))
            for _ in range(2):
                newest, to = registry.last(COMMITS), folder / "copy" / "ads"
                assert order(registry.folder, to).commit >= newest
                copy = open_registry(to)
                assert not unsigned(copy)
                for made in copy.records(CANDIDATES):
                    assert copy.get(made.artifact)
                numbers = copy.numbers(CHAMPIONS)
                assert numbers == [*range(copy.last(CHAMPIONS) + 1)]
                assert all(copy.read(CHAMPIONS, n) == registry.read(CHAMPIONS, n) for n in numbers)
    finally:
        shutil.rmtree(folder)


@settings(max_examples=15, deadline=None)
@given(st.integers(0, 2**32))
def test_a_copy_made_while_a_feed_goes_on_is_whole(seed: int) -> None:
    attacked(seed)


def test_records_that_are_copied_after_commits_are_missed() -> None:
    def late(source: Path, to: Path) -> Copied:
        """Copy commits first, as one would who does not know that records name them."""
        for folder in module.COMMITTED:
            module._copy_all(storage.Disk(source), folder, to)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(module, "COMMITTED", ())
            return back_up(source, to)

    assert missed(late)


def test_a_record_that_follows_from_one_not_listed_is_missed() -> None:
    def careless(source: Path, to: Path) -> Copied:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(module, "whole", lambda records, _: records)
            return back_up(source, to)

    assert missed(careless)


def missed(order: Callable[[Path, Path], Copied]) -> bool:
    for seed in range(200):
        try:
            attacked(seed, order)
        except (AssertionError, RegistryError):
            return True
    return False


def test_what_is_the_runs_own_stays_and_another_feeds_copy_is_refused(tmp_path: Path) -> None:
    registry = open_registry(tmp_path / "live" / "ads")
    life = lives(registry, Random(0))
    for _ in range(30):
        next(life)
    (registry.folder / "services").mkdir()
    (registry.folder / "services" / "ray.log").write_text("x")
    (registry.folder / "embedded.json").write_text("{}")
    (registry.folder / "lineages" / "a").mkdir(parents=True)
    (registry.folder / "lineages" / "a" / "pipeline.py").write_text("x = 1")
    registry.secret()
    to = tmp_path / "copy" / "ads"
    first = back_up(registry.folder, to)
    assert first.files == sum(path.is_file() for path in to.rglob("*"))
    assert not [name for name in LEFT if (to / name).exists()]
    assert (to / "lineages" / "a" / "pipeline.py").read_text() == "x = 1"
    assert {(to / name).stat().st_mode & 0o077 for name in ("secret", "receipts.pem")} == {0}
    assert (back_up(registry.folder, to).files, back_up(registry.folder, to).bytes) == (0, 0)
    registry.sign(CHAMPIONS, 0)
    back_up(registry.folder, to)
    assert (to / "champion" / "00000000.json").read_bytes() == registry.read(CHAMPIONS, 0)
    other = open_registry(tmp_path / "other" / "ads")
    append(other, empty(0, learned=7))
    with pytest.raises(RegistryError):
        back_up(other.folder, to)
