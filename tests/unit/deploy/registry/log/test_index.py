"""An id is found in the commits that hold it, and hardly another segment is read for it."""

from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from msgspec import Raw, json

from deploy.registry.log import index
from deploy.registry.log.log import Log
from deploy.registry.log.sealer import Sealer
from deploy.registry.log.segments import INDEX, LOG, span_of
from deploy.registry.storage import Disk
from learners.commits.commit import encode
from streams.errors import RegistryError
from tests.committed import digest, empty

HERE = settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=25)
ids = st.text(min_size=1, max_size=12)


def filled(folder: Path, held: list[list[str]], *, sealed: bool = True) -> Disk:
    """Create commits that hold samples of these ids, and seal all but the newest."""
    objects, parent = Disk(folder), b""
    log, sealer = Log(objects), Sealer(objects, commits=3)
    for n, names in enumerate(held):
        samples = [Raw(json.encode({"id": name, "kind": "sample"})) for name in names]
        line = encode(empty(n, digest(parent) if n else "", samples=samples))
        assert log.create(n, line)
        parent = line
        while sealed and sealer.step():
            pass
    return objects


@HERE
@given(held=st.lists(st.lists(ids, max_size=4), min_size=1, max_size=30), key=ids)
def test_every_commit_that_holds_an_id_is_among_those_that_may(
    held: list[list[str]], key: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    objects = filled(tmp_path_factory.mktemp("index"), held)
    for name in [key, *(name for names in held for name in names)]:
        found = list(index.numbers(objects, name))
        assert found == sorted(set(found), reverse=True)
        assert {n for n, names in enumerate(held) if name in names} <= set(found)


def test_hardly_a_segment_is_read_that_does_not_hold_it(tmp_path: Path) -> None:
    objects = filled(tmp_path, [[f"{n}-{i}" for i in range(40)] for n in range(50)])
    segments = len(objects.list(LOG))
    assert len(objects.list(INDEX)) == segments > 1
    unknown = [list(index.numbers(objects, f"nobody-{n}")) for n in range(200)]
    alone = list(range(49, Log(objects).sealed(), -1))
    assert sum(found == alone for found in unknown) > 180
    data = index.pack(encode(empty(0, samples=[Raw(json.encode({"id": f"{i}"}))])) for i in range(10_000))
    wrong = sum(index.may_hold("", data, f"nobody-{n}") for n in range(2_000))
    assert wrong < 2_000 / 50
    assert len(data) < 1.4 * 10_000


def test_a_segment_without_an_index_is_read_and_a_damaged_index_is_named(tmp_path: Path) -> None:
    objects = filled(tmp_path, [[f"id-{n}"] for n in range(12)])
    name = index.name_of(span_of(objects.list(LOG)[0]))
    (tmp_path / name).write_bytes(b"nothing")
    with pytest.raises(RegistryError, match=name):
        list(index.numbers(objects, "nobody"))
    objects.delete(name)
    assert 0 in index.numbers(objects, "nobody")


def test_an_index_goes_with_its_segment(tmp_path: Path) -> None:
    objects = filled(tmp_path, [[f"id-{n}"] for n in range(40)])
    assert objects.list(INDEX) == [index.name_of(span_of(name)) for name in objects.list(LOG)]
