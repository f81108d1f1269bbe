"""Of syncs in a row one is read, and what follows from the versions is what follows from all of them."""

from pathlib import Path
from tempfile import TemporaryDirectory

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deploy.registry.gc.heads import Heads
from deploy.registry.gc.needs import Needs
from deploy.registry.kinds import BLOBS, CHAMPIONS
from deploy.registry.records import Champion
from deploy.registry.registry import Registry
from deploy.registry.reigns import SYNCS, add, at, barred, base, before, gated, promotions, reigning, syncs, versions

WHAT = st.lists(st.sampled_from(["promoted", "sync", "sync", "sync", "back"]), max_size=12)


def made(what: list[str]) -> list[Champion]:
    """Return all versions of which each was promoted, is a sync, or has brought the one before back."""
    found = [one(0)]
    for kind in what:
        now, last = found[-1], gated(found)
        if kind == "promoted":
            found.append(one(now.number + 1))
        elif kind == "sync" and last.back_to is None:
            found.append(one(now.number + 1, sync_of=last.number))
        elif kind == "back" and (number := before(found)) is not None:
            found.append(one(now.number + 1, artifact=found[number].artifact, back_to=number))
    return found


def one(number: int, artifact: str = "", back_to: int | None = None, sync_of: int | None = None) -> Champion:
    return Champion(
        number=number, artifact=artifact or f"{number:064x}", candidate=None, offset=(0.0,), at_ms=number, learned=0,
        evidence="", back_to=back_to, sync_of=sync_of,
    )  # fmt: skip


@settings(max_examples=60, deadline=None)
@given(WHAT)
def test_the_newest_of_syncs_in_a_row_stands_for_all(what: list[str]) -> None:
    every, read = made(what), list[Champion]()
    with TemporaryDirectory() as folder:
        registry = Registry(Path(folder))
        for version in every:
            registry.create(CHAMPIONS, version.number, version)
            if read:
                add(read, version)
            else:
                read.append(version)
        assert versions(registry) == read
        assert [len(versions(registry, n)) <= len(read) for n in range(len(every))] == [True] * len(every)
    served = [version for version in every if version.sync_of is None]
    assert [version for version in read if version.sync_of is None] == served
    assert (base(read), gated(read), before(read)) == (base(every), gated(every), before(every))
    assert (promotions(read), syncs(read)) == (promotions(every), len(every) - len(served))
    tested = {version.artifact for version in served}
    assert barred(read) & tested == barred(every) & tested
    for version in every:
        assert reigning(read, version.number) is reigning(every, version.number)
    assert not reigning(read, every[-1].number + 1)
    assert at(read, every[-1].number) == every[-1]


@pytest.mark.parametrize("newest", ["sync", "promoted"])
def test_artifacts_of_the_newest_syncs_stay_and_of_all_that_was_tested(newest: str, tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    every = made(["sync"] * 6 + ["promoted"] + ["sync"] * 6 + ["promoted"] * (newest == "promoted"))
    for version in every:
        registry.create(CHAMPIONS, version.number, version)
        registry.objects.create(f"{BLOBS}/{version.artifact}", b"an artifact")
    kept = Needs(registry, {version.artifact: 1 for version in every}, [], Heads()).read()
    stay = [version.number for version in every if version.artifact in kept]
    late = range(every[-1].number - SYNCS + 1, every[-1].number + 1)
    assert stay == sorted({0, 7, *late})


@given(st.builds(lambda **said: msgspec.structs.replace(one(7, sync_of=3), **said), **{
    "engine": st.sampled_from([None, "no engine"]), "commit": st.sampled_from([None, 0, 9]),
    "candidate": st.sampled_from([None, 0, 4]), "share": st.sampled_from([1.0, 0.5]),
}))  # fmt: skip
def test_a_syncs_record_is_short_and_says_all_and_one_of_an_older_release_is_read(sync: Champion) -> None:
    short, older = CHAMPIONS.encode(sync), msgspec.json.encode(sync)
    assert CHAMPIONS.decode(short) == CHAMPIONS.decode(older) == sync
    assert len(short) < len(older)
