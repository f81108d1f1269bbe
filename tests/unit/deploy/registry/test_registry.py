"""The registry: created once, never changed, damage seen."""

import threading
from pathlib import Path

import pytest

from deploy.registry.records import ConductorNote, encode
from deploy.registry.registry import Registry, RegistryError


def test_one_of_many_rivals_creates_a_record_and_the_others_are_told(tmp_path: Path) -> None:
    registry, won = Registry(tmp_path), []
    start = threading.Barrier(8)

    def rival(n: int) -> None:
        start.wait()
        if registry.create("commits", 0, str(n).encode()):
            won.append(n)

    threads = [threading.Thread(target=rival, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert registry.read("commits", 0) == str(won[0]).encode()
    assert [p.name for p in (tmp_path / "commits").iterdir()] == ["00000000.json"]


def test_records_are_read_in_their_type_and_the_last_one_is_found(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    assert registry.last("champion") == -1
    assert registry.record("champion", 0, ConductorNote) is None
    for n in range(3):
        registry.create("champion", n, encode(ConductorNote(n, n)))
    assert registry.last("champion") == registry.last("champion", 1) == 2
    assert registry.record("champion", 2, ConductorNote) == ConductorNote(2, 2)
    registry.create("champion", 3, b'{"verdict": "x"}')
    with pytest.raises(RegistryError, match=r"00000003\.json"):
        registry.record("champion", 3, ConductorNote)


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
