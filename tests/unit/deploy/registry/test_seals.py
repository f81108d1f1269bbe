"""What nobody who is trusted has signed, as it is and where it is, is not read; a person may sign it."""

import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from deploy.registry.kinds import CANDIDATES, CHAMPIONS, COMMITS, VERDICTS
from deploy.registry.log.bundler import Bundler
from deploy.registry.log.bundles import VERSIONS
from deploy.registry.log.segments import LOG, Span, span_of
from deploy.registry.opening import open_registry, sign, unsigned
from deploy.registry.records import Champion
from deploy.registry.registry import Registry
from deploy.registry.seals import opened
from learners.evaluation.verdict import Decision
from shadowstream import ConfigError
from streams.errors import Untrusted
from tests.committed import empty
from tests.unit.deploy.console.views import candidate, champion, verdict


def filled(folder: Path, *, signed: bool = True) -> Registry:
    """Return a registry with two versions, the second of candidate 0."""
    registry = open_registry(folder) if signed else Registry(folder)
    for number in (0, candidate(0).commit, verdict(0, Decision.PROVEN).commit):
        registry.create(COMMITS, number, empty(number))
    assert registry.create(CHAMPIONS, 0, champion(0, None))
    assert registry.create(CANDIDATES, 0, candidate(0))
    assert registry.create(VERDICTS, 0, verdict(0, Decision.PROVEN))
    assert registry.create(CHAMPIONS, 1, champion(1, 0))
    return registry


def test_what_was_signed_is_read_and_names_all_that_it_follows_from(tmp_path: Path) -> None:
    registry = filled(tmp_path / "ads")
    assert list(registry.records(CHAMPIONS)) == [champion(0, None), champion(1, 0)]
    assert not unsigned(registry)
    _, seal = opened(registry.read(CHAMPIONS, 1) or b"")
    assert seal is not None
    assert (seal.place, seal.feed) == ("champion/1", "ads")
    assert {*seal.follows} == {"champion/0", "candidates/0", "verdicts/0"}


def other(registry: Registry, number: int = 1) -> bytes:
    """Return the file of a version whose artifact is another one."""
    record, _, seal = (registry.read(CHAMPIONS, number) or b"").partition(b"\n")
    forged = msgspec.structs.replace(CHAMPIONS.decode(record), artifact="f" * 64)
    return CHAMPIONS.encode(forged) + b"\n" + seal


def unsealed(registry: Registry) -> bytes:
    return (registry.read(CHAMPIONS, 1) or b"").partition(b"\n")[0]


def by_another(registry: Registry) -> bytes:
    elsewhere = filled(registry.folder.parent / "theirs" / "ads")
    return elsewhere.read(CHAMPIONS, 1) or b""


def of_another_feed(registry: Registry) -> bytes:
    elsewhere = registry.folder.parent / "news"
    elsewhere.mkdir()
    shutil.copy(registry.folder / "receipts.pem", elsewhere)
    return filled(elsewhere).read(CHAMPIONS, 1) or b""


def of_another_place(registry: Registry) -> bytes:
    return registry.read(CHAMPIONS, 0) or b""


def test_a_file_that_was_right_is_not_checked_again_but_another_in_its_place_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry, read = filled(tmp_path / "ads"), list[str]()
    at = registry._at

    def counted(of: str) -> bytes | None:
        read.append(of)
        return at(of)

    monkeypatch.setattr(registry, "_at", counted)
    for _ in range(2):
        assert registry.record(CHAMPIONS, 1) == champion(1, 0)
    assert {*read} == {"champion/0", "candidates/0", "verdicts/0"}
    assert len(read) == 3
    CHAMPIONS.path(registry.folder, 1).write_bytes(other(registry))
    with pytest.raises(Untrusted, match="is not as it was signed"):
        registry.record(CHAMPIONS, 1)


@pytest.mark.parametrize(
    ("forge", "why"),
    [
        (other, "champion/1 is not as it was signed"),
        (unsealed, "champion/1 is not signed: an earlier release made it, or somebody else"),
        (by_another, "champion/1 was signed by the key .*, which is not one of registry.trusted"),
        (of_another_feed, "champion/1 is that of champion/1 of feed 'news'"),
        (of_another_place, "champion/1 is that of champion/0 of feed 'ads'"),
        (lambda registry: unsealed(registry) + b"\nno seal", "champion/1 is not signed"),
    ],
)
def test_what_is_forged_is_refused_and_a_person_may_sign_it(
    forge: Callable[[Registry], bytes], why: str, tmp_path: Path
) -> None:
    registry = filled(tmp_path / "ads")
    CHAMPIONS.path(registry.folder, 1).write_bytes(forge(registry))
    with pytest.raises(Untrusted, match=why):
        registry.record(CHAMPIONS, 1)
    assert registry.record(CHAMPIONS, 0) == champion(0, None)
    assert len(unsigned(registry)) == 1
    assert sign(registry) == 1
    assert isinstance(registry.record(CHAMPIONS, 1), Champion)


@pytest.mark.parametrize("kind", [CANDIDATES, VERDICTS])
def test_a_version_whose_evidence_is_another_or_gone_is_refused(kind: object, tmp_path: Path) -> None:
    assert kind in (CANDIDATES, VERDICTS)
    registry, name = filled(tmp_path / "ads"), kind.name
    path = registry.folder / name / "00000000.json"
    path.write_bytes(path.read_bytes().replace(b"7", b"8"))
    with pytest.raises(Untrusted, match=f"champion/1 follows from another {name}/0 than the one that is there"):
        registry.record(CHAMPIONS, 1)
    path.unlink()
    with pytest.raises(Untrusted, match=f"champion/1 follows from {name}/0, which is missing"):
        registry.record(CHAMPIONS, 1)


def test_a_feed_of_an_earlier_release_is_signed_whole(tmp_path: Path) -> None:
    filled(tmp_path / "ads", signed=False)
    registry = open_registry(tmp_path / "ads")
    with pytest.raises(Untrusted, match=r"champion/0 is not signed.*`shadowstream sign`"):
        registry.record(CHAMPIONS, 0)
    assert sign(registry) == 4
    assert list(registry.records(CHAMPIONS)) == [champion(0, None), champion(1, 0)]
    assert list(Registry(tmp_path / "ads").records(CHAMPIONS)) == [champion(0, None), champion(1, 0)]


def test_a_key_comes_from_a_file_or_as_text_and_trust_from_other_files(tmp_path: Path) -> None:
    made = Ed25519PrivateKey.generate()
    pem = made.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    (tmp_path / "key.pem").write_bytes(pem)
    for key in (str(tmp_path / "key.pem"), pem.decode()):
        registry = open_registry(tmp_path / "ads", key)
        registry.create(COMMITS, 0, empty(0))
        registry.create(CHAMPIONS, 0, champion(0, None))
        assert registry.record(CHAMPIONS, 0) == champion(0, None)
        assert not (tmp_path / "ads" / "receipts.pem").exists()
    filled(tmp_path / "news")
    theirs = open_registry(tmp_path / "ads", pem.decode(), str(tmp_path / "news" / "receipts.pub"))
    with pytest.raises(Untrusted, match=r"which is not one of registry\.trusted"):
        theirs.record(CHAMPIONS, 0)
    with pytest.raises(ConfigError, match="the key must be a private Ed25519 key in PEM"):
        open_registry(tmp_path / "ads", "-----BEGIN nonsense")


def test_syncs_in_bundles_are_signed_anew_and_merged_so(tmp_path: Path) -> None:
    registry = filled(tmp_path / "ads", signed=False)
    for number in range(2, 14):
        synced = {"number": number, "sync_of": 1, "commit": 0}
        assert registry.create(CHAMPIONS, number, msgspec.structs.replace(champion(1, 0), **synced))
    bundler = Bundler(registry.objects, keeps=2, syncs=5)
    assert bundler.step()
    assert [span_of(LOG + name[len(VERSIONS) :]) for name in registry.objects.list(VERSIONS)] == [Span(2, 11)]
    mine = open_registry(tmp_path / "ads")
    assert len(unsigned(mine)) == sign(mine)
    assert not unsigned(mine)
    bundler.step()
    assert not unsigned(open_registry(tmp_path / "ads"))
    assert registry.numbers(CHAMPIONS) == [*range(14)]
