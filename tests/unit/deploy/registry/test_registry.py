"""The registry: created once, never changed, damage seen."""

import threading
from pathlib import Path

import pytest

from deploy.registry.kinds import CHAMPIONS, COMMITS
from deploy.registry.records import Champion
from deploy.registry.registry import Registry
from streams.errors import RegistryError
from tests.committed import empty


def test_one_of_many_rivals_creates_a_record_and_the_others_are_told(tmp_path: Path) -> None:
    registry, won = Registry(tmp_path), []
    start = threading.Barrier(8)

    def rival(n: int) -> None:
        start.wait()
        if Registry(tmp_path).create(COMMITS, 0, empty(0, learned=n)):
            won.append(n)

    threads = [threading.Thread(target=rival, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert registry.record(COMMITS, 0) == empty(0, learned=won[0])
    assert [p.name for p in (tmp_path / "tail").iterdir()] == ["000000000000"]


def test_records_are_read_in_their_type_and_the_last_one_is_found(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    assert registry.last(CHAMPIONS) == -1
    assert registry.record(CHAMPIONS, 0) is None
    for n in range(3):
        registry.create(CHAMPIONS, n, champion(n))
    assert registry.last(CHAMPIONS) == registry.last(CHAMPIONS, 1) == 2
    assert registry.record(CHAMPIONS, 2) == champion(2)
    assert list(registry.records(CHAMPIONS)) == [champion(0), champion(1), champion(2)]
    registry.write(CHAMPIONS, 3, b'{"number": "x"}')
    with pytest.raises(RegistryError, match=r"00000003\.json"):
        registry.record(CHAMPIONS, 3)


def champion(number: int) -> Champion:
    return Champion(number=number, artifact="", candidate=None, offset=(0.0,), at_ms=0, learned=0, evidence="a test")


def test_blobs_are_known_by_their_digest_and_damage_is_seen(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    digest = registry.put(b"weights")
    assert registry.put(b"weights") == digest
    assert registry.get(digest) == b"weights"
    (tmp_path / "blobs" / digest).write_bytes(b"weighty")
    with pytest.raises(RegistryError, match="damaged"):
        registry.get(digest)
    with pytest.raises(RegistryError, match="missing"):
        registry.get("0" * 64)
