"""Which states stay: their number, for what, and what happens when a commit comes while they go."""

from pathlib import Path
from threading import Event
from typing import TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct

from deploy import config
from deploy.operate.registry.gc import collect
from deploy.registry.commits import read
from deploy.registry.gc import sweep as sweeps_of
from deploy.registry.gc.heads import Heads
from deploy.registry.gc.needs import stays
from deploy.registry.gc.sweep import NOBODY, Kept, look, sweep, sweeping
from deploy.registry.kinds import ASIDE, BLOBS, COMMITS, Kind
from deploy.registry.registry import Registry
from deploy.registry.storage import Disk
from learners.commits.commit import Due
from streams.errors import ConfigError
from tests.committed import append, empty

T = TypeVar("T", bound=Struct)
WAIT_S = 60.0  # against a hang alone


def filled(folder: Path, states: int, due: int | None = None) -> Registry:
    """Return a registry of so many commits, each with a state; a candidate of one is due."""
    registry = Registry(folder)
    for n in range(states):
        reason = Due("schedule", 0) if n == due else None
        append(registry, empty(n, state=registry.put(b"state %d" % n), due=reason))
    return registry


def there(registry: Registry) -> list[int]:
    """Return the commits whose state is there."""
    numbers = range(registry.last(COMMITS) + 1)
    return [n for n in numbers if registry.find(str(read(registry, n).state)) is not None]


@given(newest=st.integers(0, 3_000))
def test_few_stay_the_newest_four_and_the_first_and_none_comes_back(newest: int) -> None:
    kept = [i for i in range(newest + 1) if stays(i, newest)]
    assert kept[0] == 0
    assert kept[-4:] == list(range(max(0, newest - 3), newest + 1))
    assert len(kept) <= 4 + 2 * newest.bit_length()
    assert {i for i in kept if i <= newest} >= {i for i in range(newest + 1) if stays(i, newest + 1)}


def test_each_object_says_what_it_is_kept_for_and_a_look_deletes_nothing(tmp_path: Path) -> None:
    registry = filled(tmp_path, 20, due=5)
    artifact = registry.put(b"an artifact, whose candidate is to come")
    found = look(registry)
    kept_for = {one.name: one.kept_for for one in found.stays}
    assert kept_for[f"{BLOBS}/{artifact}"] == [NOBODY]
    assert kept_for[f"{BLOBS}/{read(registry, 5).state}"] == ["the candidate of commit 5, which is due"]
    assert kept_for[f"{BLOBS}/{read(registry, 19).state}"] == ["a rebuild from commit 19 on"]
    assert all(kept_for.values())
    assert len(there(registry)) == 20
    gone = sweep(registry).goes
    assert [one.name for one in gone] == [one.name for one in found.goes]
    assert there(registry) == sorted({5, *(i for i in range(20) if stays(i, 19))})
    assert registry.find(artifact) is not None
    assert not sweep(registry).goes


class Counting(Registry):
    """Knows which commits were read."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.commits = list[int]()

    def read(self, kind: Kind[T], number: int) -> bytes | None:
        if kind is COMMITS:
            self.commits.append(number)
        return super().read(kind, number)


def test_a_later_sweep_of_a_run_reads_what_is_new(tmp_path: Path) -> None:
    heads, registry = Heads(), filled(tmp_path, 20, due=5)
    sweep(registry, heads=heads)
    for n in range(20, 25):
        append(registry, empty(n, state=registry.put(b"state %d" % n), due=Due("schedule", 0) if n == 21 else None))
    counting = Counting(tmp_path)
    assert heads.read(counting) == Heads().read(registry)
    assert counting.commits == [19, *range(20, 25), 25]
    assert [one.name for one in look(registry).goes] == [one.name for one in sweep(registry, heads=heads).goes]
    assert {5, 21} < {*there(registry)}


def test_of_another_log_in_the_same_place_all_is_read(tmp_path: Path) -> None:
    heads, one, other = Heads(), filled(tmp_path / "one", 20, due=5), filled(tmp_path / "other", 30)
    shorter = filled(tmp_path / "shorter", 4)
    for registry in (one, other, shorter, one):
        assert heads.read(registry) == Heads().read(registry)


def test_a_state_that_two_commits_name_stays_for_either(tmp_path: Path) -> None:
    registry = filled(tmp_path, 20)
    append(registry, empty(20, state=read(registry, 7).state))
    sweep(registry)
    assert 7 in there(registry)


@pytest.mark.parametrize("looks_again", ["learner", "sweep"])
def test_a_commit_that_names_a_state_while_it_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, looks_again: str
) -> None:
    """The learner puts the state of commit 7 again, and finds it there, as a sweep has chosen it."""
    registry, move, done = filled(tmp_path, 20), Disk.move, list[str]()
    state = str(read(registry, 7).state)

    def commit() -> None:
        done.append(registry.put(b"state 7"))
        append(registry, empty(20, state=state))
        registry.keep(state, b"state 7")

    def moved(objects: Disk, name: str, to: str) -> None:
        here = name == f"{BLOBS}/{state}" and not done
        if here and looks_again == "sweep":
            commit()  # before it is set aside: the learner still finds it
        move(objects, name, to)
        if here and looks_again == "learner":
            commit()

    monkeypatch.setattr(Disk, "move", moved)
    gone = sweep(registry).goes
    assert done == [state]
    assert registry.find(state) == b"state 7"
    assert state not in {one.name.removeprefix(f"{BLOBS}/") for one in gone}


def test_what_a_sweep_that_died_has_set_aside_goes_or_comes_back(tmp_path: Path) -> None:
    registry = filled(tmp_path, 20)
    blobs, kept, goes = tmp_path / BLOBS, str(read(registry, 19).state), str(read(registry, 7).state)
    for digest in (kept, goes):
        (blobs / digest).rename(blobs / f"{ASIDE}{digest}")
    sweep(registry)
    assert registry.find(kept) is not None
    assert registry.find(goes) is None
    assert not list(blobs.glob(f"{ASIDE}*"))


def test_a_run_sweeps_by_itself_and_an_error_ends_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    registry, swept, tries = filled(tmp_path, 20), Event(), list[int]()

    def sweeps(of: Registry, before: frozenset[str], keeping: None, heads: Heads) -> Kept:
        tries.append(1)
        if len(tries) == 1:
            raise OSError("the disk is away")
        found = sweep(of, before, keeping, heads)
        swept.set()
        return found

    monkeypatch.setattr(sweeps_of, "sweep", sweeps)
    with sweeping(tmp_path, 0.001, 0.001):
        assert swept.wait(WAIT_S)
    assert there(registry) == [i for i in range(20) if stays(i, 19)]


def test_two_sweeps_at_once_come_to_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Another sweep runs to its end between any two steps of one."""
    registry, move, found = filled(tmp_path, 20), Disk.move, list[int]()

    def moved(objects: Disk, name: str, to: str) -> None:
        move(objects, name, to)
        if len(found) < 3:
            found.append(1)
            sweep(Registry(tmp_path))

    monkeypatch.setattr(Disk, "move", moved)
    sweep(registry)
    assert found
    assert there(registry) == [i for i in range(20) if stays(i, 19)]
    assert not list((tmp_path / BLOBS).glob(f"{ASIDE}*"))


def test_without_a_commit_the_command_says_where_it_looked(tmp_path: Path) -> None:
    example = Path(__file__).parents[4] / "examples" / "start" / "pipeline.py"
    settings = config.Settings(registry=config.Registry(path=str(tmp_path)))
    with pytest.raises(ConfigError, match="has no commit: use the working directory of the run"):
        collect(example, settings)
