"""The record of a feed: what was written is read wherever it is, and what is damaged is said by its object's name."""

from collections.abc import Callable
from pathlib import Path
from random import Random
from threading import Event

import pytest
import zstandard

from deploy.registry.commits import backwards
from deploy.registry.kinds import COMMITS
from deploy.registry.log import frames, segments
from deploy.registry.log import log as log_module
from deploy.registry.log.log import Log
from deploy.registry.log.sealer import Sealer, neighbours
from deploy.registry.log.sealing import seal as seal_beside
from deploy.registry.log.segments import INDEX, Span, old_name, tail_name
from deploy.registry.registry import Registry, begun
from deploy.registry.storage import Disk
from learners.commits.commit import encode
from streams.errors import CommitError, RegistryError, ShadowstreamError
from tests.committed import append, digest, empty


def lines(count: int) -> list[bytes]:
    """Return commits that follow each other; the third says that its samples are void."""
    made = list[bytes]()
    for n in range(count):
        void = {"0": "1-1"} if n == 3 else {}
        made.append(encode(empty(n, digest(made[-1]) if n else "", learned=10 * n, void=void)))
    return made


def filled(folder: Path, count: int) -> list[bytes]:
    log, made = Log(Disk(folder)), lines(count)
    assert all(log.create(n, line) for n, line in enumerate(made))
    return made


def seal(folder: Path, commits: int = 3) -> None:
    sealer = Sealer(Disk(folder), commits=commits)
    while sealer.step():
        pass


def read(folder: Path) -> list[bytes | None]:
    """Return all commits as a reader finds them that has seen nothing before."""
    log = Log(Disk(folder))
    return [log.read(n) for n in range(log.newest() + 1)]


def files(folder: Path) -> list[str]:
    """Return the objects that hold commits."""
    found = sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())
    return [name for name in found if not name.startswith(INDEX)]


def test_commits_are_the_same_bytes_wherever_they_are(tmp_path: Path) -> None:
    made = filled(tmp_path, 12)
    assert read(tmp_path) == made
    seal(tmp_path)
    assert files(tmp_path) == [Span(0, 10).name, tail_name(11)]
    assert read(tmp_path) == made
    assert [*map(Log(Disk(tmp_path)).read, range(11, -1, -1))] == made[::-1]
    assert Log(Disk(tmp_path)).read(12) is None
    assert (Log(Disk(tmp_path)).place(10), Log(Disk(tmp_path)).place(11)) == (Span(0, 10).name, tail_name(11))
    header = segments.unpack(Span(0, 10).name, Disk(tmp_path).get(Span(0, 10).name) or b"").header
    assert (header.parent, header.chain, header.learned, header.voids) == ("", digest(made[10]), 100, [3])


def test_a_commit_whose_json_has_a_line_feed_is_one_line(tmp_path: Path) -> None:
    first = lines(1)[0].replace(b'"learned"', b'\n"learned"')
    log = Log(Disk(tmp_path))
    assert log.create(0, first)
    assert log.create(1, encode(empty(1, digest(first))))
    seal(tmp_path, 1)
    assert files(tmp_path) == [Span(0, 0).name, tail_name(1)]
    assert read(tmp_path)[0] == first


def test_segments_are_merged_and_few(tmp_path: Path) -> None:
    log, made = Log(Disk(tmp_path)), lines(300)
    sealer = Sealer(Disk(tmp_path), commits=4)
    most = 0
    for n, line in enumerate(made):
        assert log.create(n, line)
        while sealer.step():
            pass
        most = max(most, len(files(tmp_path)))
    assert most <= 7 + 7 + 7 + 5  # of 4, 32 and 256 commits, and the tail
    assert read(tmp_path) == made


def test_whatever_is_sealed_at_once_segments_stay_few_and_each_commit_is_merged_seldom() -> None:
    random = Random(7)
    for _ in range(20):
        spans, merged, end = list[Span](), 0, -1
        most = random.choice([3, 60, 600])
        for _ in range(400):
            spans.append(Span(end + 1, end := end + random.randint(1, most)))
            while group := [*neighbours(spans)]:
                at = spans.index(group[0])
                spans[at : at + len(group)] = [Span(group[0].first, group[-1].last)]
                merged += group[-1].last - group[0].first + 1
        sizes = end.bit_length() // 3 + 1
        assert [one.last + 1 for one in spans[:-1]] == [one.first for one in spans[1:]]
        assert len(spans) <= 7 * sizes
        assert merged <= 2 * sizes * end


def test_a_few_commits_are_sealed_when_the_first_has_waited_ten_minutes(tmp_path: Path) -> None:
    now_s = [0.0]
    sealer = Sealer(Disk(tmp_path), clock=lambda: now_s[0])
    filled(tmp_path, 5)
    for at_s, sealed in ((0.0, False), (599.0, False), (600.0, True), (600.0, False)):
        now_s[0] = at_s
        assert sealer.step() is sealed
    assert files(tmp_path) == [Span(0, 3).name, tail_name(4)]


def test_a_record_of_an_earlier_release_is_read_goes_on_and_is_sealed(tmp_path: Path) -> None:
    made, registry = lines(10), Registry(tmp_path)
    (tmp_path / "commits").mkdir()
    for n, line in enumerate(made[:8]):
        (tmp_path / old_name(n)).write_bytes(line)
    assert begun(tmp_path)
    assert read(tmp_path) == made[:8]
    seal(tmp_path)  # the newest stays, though it is an old one
    assert (files(tmp_path), registry.last(COMMITS)) == ([old_name(7), Span(0, 6).name], 7)
    append(registry, empty(8, learned=80))
    append(registry, empty(9, learned=90))
    seal(tmp_path, 1)
    assert (files(tmp_path), read(tmp_path)) == ([Span(0, 6).name, Span(7, 8).name, tail_name(9)], made)
    assert [commit.number for commit in backwards(registry)] == [*range(9, -1, -1)]


def test_one_that_was_held_up_sees_that_its_number_was_sealed(tmp_path: Path) -> None:
    made = filled(tmp_path, 12)
    seal(tmp_path)
    log = Log(Disk(tmp_path))
    assert not log.create(5, encode(empty(5, digest(made[4]), learned=7)))
    assert read(tmp_path) == made
    seal(tmp_path)
    assert log.create(5, made[5])  # one history is one history
    seal(tmp_path)
    assert files(tmp_path) == [Span(0, 10).name, tail_name(11)]


def test_what_was_sealed_and_merged_while_a_reader_looked_counts(tmp_path: Path) -> None:
    made = filled(tmp_path, 12)

    class Meanwhile(Disk):
        """Commit 5 is sealed just before it is read, and its segment merged just before that is read."""

        def get(self, name: str) -> bytes | None:
            if name == tail_name(5) and (tmp_path / name).exists():
                seal(tmp_path)  # and one that was held up creates another
                assert super().create(name, frames.pack(encode(empty(5, digest(made[4]), learned=7)), frames.FAST))
            if name == Span(0, 10).name:
                span, data = segments.pack(made)
                super().create(span.name, data)
                super().delete(name)
            return super().get(name)

    assert Log(Meanwhile(tmp_path)).read(5) == made[5]


Harm = Callable[[Path], None]


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-20])


def claim(path: Path) -> None:
    path.write_bytes(zstandard.ZstdCompressor().compress(bytes(1 << 30)))


def rewrite(path: Path) -> None:
    """Change a commit, and leave the frame whole."""
    line = frames.unpack(path.name, path.read_bytes()).replace(b'"learned":', b'"learned": ')
    path.write_bytes(frames.pack(line, frames.FAST))


@pytest.mark.parametrize("harm", [cut, claim, rewrite, Path.unlink])
@pytest.mark.parametrize("of", [Span(0, 3).name, Span(4, 7).name, tail_name(9), tail_name(10)])
def test_an_object_that_is_damaged_or_gone_is_named(tmp_path: Path, harm: Harm, of: str) -> None:
    with_two_segments(tmp_path)
    harm(tmp_path / of)
    gone = "is missing, and no segment in log/ holds commit" if harm is Path.unlink and of.startswith("log") else of
    for reading in (read, lambda folder: [*map(Log(Disk(folder)).read, range(11, -1, -1))]):
        with pytest.raises(RegistryError, match=gone):
            reading(tmp_path)
    with pytest.raises(RegistryError, match=f"{tmp_path}/.*{gone}"):
        [*backwards(Registry(tmp_path))]
    kept = files(tmp_path)
    if of != Span(0, 3).name:  # which the sealer need not read
        with pytest.raises(RegistryError, match=gone):
            seal(tmp_path, 1)
        assert files(tmp_path) == kept


def with_two_segments(folder: Path) -> list[bytes]:
    made = lines(12)
    for first, last in ((0, 3), (4, 7)):
        span, data = segments.pack(made[first : last + 1])
        assert Disk(folder).create(span.name, data)
    for n in range(8, 12):
        assert Disk(folder).create(tail_name(n), frames.pack(made[n], frames.FAST))
    return made


@pytest.mark.parametrize(("one", "other"), [(Span(0, 3).name, Span(4, 7).name), (tail_name(8), tail_name(9))])
def test_swapped_siblings_are_named(tmp_path: Path, one: str, other: str) -> None:
    with_two_segments(tmp_path)
    first, second = (tmp_path / one).read_bytes(), (tmp_path / other).read_bytes()
    (tmp_path / one).write_bytes(second)
    (tmp_path / other).write_bytes(first)
    with pytest.raises(RegistryError, match=f"{one} is damaged: it has commit"):
        read(tmp_path)


def test_a_sibling_of_another_record_is_named(tmp_path: Path) -> None:
    with_two_segments(tmp_path)
    (tmp_path / tail_name(9)).write_bytes(frames.pack(encode(empty(9, "f" * 64)), frames.FAST))
    with pytest.raises(RegistryError, match=f"{tail_name(9)} or {tail_name(8)} is damaged: commit 9"):
        read(tmp_path)


def test_every_flipped_bit_is_found_or_changes_nothing(tmp_path: Path) -> None:
    made, random = with_two_segments(tmp_path), Random(3)
    for name in (Span(4, 7).name, tail_name(10)):
        path = tmp_path / name
        whole = path.read_bytes()
        for at in random.sample(range(8 * len(whole)), 150):
            data = bytearray(whole)
            data[at // 8] ^= 1 << at % 8
            path.write_bytes(data)
            try:
                assert read(tmp_path) == made, f"bit {at} of {name}"
            except ShadowstreamError as wrong:
                assert str(wrong).startswith(name)  # noqa: PT017 either will do
        path.write_bytes(whole)


def test_nothing_is_written_that_is_too_large_to_be_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames, "MOST_BYTES", 1_200)
    monkeypatch.setattr(log_module, "MOST_LINE", 600)
    made, long = lines(2), encode(empty(2, fingerprint="x" * 300))
    log = Log(Disk(tmp_path))
    assert all(log.create(n, line) for n, line in enumerate(made))
    with pytest.raises(CommitError, match=f"commit 2 has {len(long)} bytes, and 600 is the most"):
        log.create(2, long)
    seal(tmp_path, 1)
    assert read(tmp_path) == made
    with pytest.raises(RegistryError, match="bytes are not written: 1,200 is the most that is read again"):
        segments.pack(lines(4))


def test_a_segment_of_a_newer_format_says_so(tmp_path: Path) -> None:
    name = Span(0, 0).name
    frame = frames.pack(b'{"format":2}\n{}\n', frames.FAST)
    with pytest.raises(RegistryError, match=f"{name} has format 2; this version reads 1"):
        segments.unpack(name, frame)


def test_commits_that_do_not_follow_each_other_make_no_segment() -> None:
    one, _, other = lines(3)
    with pytest.raises(RegistryError, match="commit 2 names another commit before it than 0 there"):
        segments.pack([one, other])


def test_what_the_sealer_cannot_do_is_said_once_and_ends_nothing(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    filled(tmp_path, 5)
    whole = (tmp_path / tail_name(2)).read_bytes()
    (tmp_path / tail_name(2)).write_bytes(whole[:-20])
    looks, ended = iter(range(6)), Event()

    class Looked(Sealer):
        """Finds the commit whole again at its fourth look, and ends at its last."""

        def step(self) -> bool:
            if (look := next(looks)) == 3:
                (tmp_path / tail_name(2)).write_bytes(whole)
            if look == 5:
                ended.set()
            return super().step()

    seal_beside(Looked(Disk(tmp_path), commits=3), ended, every_s=0)
    assert [record.message for record in caplog.records] == [
        f"sealer: {tail_name(2)} is damaged: decompression error: did not decompress full frame; commits stay as they "
        "are, in tail/"
    ]
    assert files(tmp_path) == [Span(0, 3).name, tail_name(4)]
