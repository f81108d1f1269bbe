"""Every place that a registry may be kept in does the same: a folder, memory, a real S3 that is killed meanwhile."""

import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from pathlib import Path
from typing import TypeVar

import pytest

from deploy.registry.gc.sweep import sweep
from deploy.registry.kinds import BLOBS, COMMITS
from deploy.registry.log.log import Log
from deploy.registry.log.sealer import Sealer
from deploy.registry.log.segments import digest
from deploy.registry.opening import open_registry
from deploy.registry.storage import cloud as module
from deploy.registry.storage.cloud import Cloud
from deploy.registry.storage.disk import Disk
from deploy.registry.storage.home import Home
from deploy.registry.storage.memory import Memory
from deploy.registry.storage.objects import Place
from streams.errors import ConfigError, RegistryUnwritable
from tests.committed import append, empty
from tests.services.weed import BUCKET, Weed

NUMBERS = count()
T = TypeVar("T")


@pytest.fixture(scope="module")
def weed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Weed]:
    with Weed(tmp_path_factory.mktemp("weed")) as running, pytest.MonkeyPatch.context() as patch:
        for name, value in running.settings.items():
            patch.setenv(name, value)
        yield running


@pytest.fixture(params=["disk", "memory", "s3"])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    if request.param == "s3":
        request.getfixturevalue("weed")
        return Cloud(address())
    return Disk(tmp_path / "feed") if request.param == "disk" else Memory()


def address() -> str:
    return f"s3://{BUCKET}/live/{next(NUMBERS)}"


def bucket(tmp_path: Path) -> Home:
    return Home(address(), tmp_path / "local")


def test_one_of_many_rivals_creates_an_object_and_it_stays(place: Place) -> None:
    start, won = threading.Barrier(8), list[int]()

    def rival(n: int) -> None:
        start.wait()
        if place.create("tail/000000000000", b"%d" % n):
            won.append(n)

    threads = [threading.Thread(target=rival, args=(n,)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert place.get("tail/000000000000") == b"%d" % won[0]


def test_names_are_listed_in_their_order_after_one_and_without_what_is_hidden(place: Place) -> None:
    assert place.list("tail") == []
    for n in (2, 0, 1_200, 1):
        assert place.create(f"tail/{n:012}", b"x")
    assert place.create("tails/0", b"x")
    assert place.create("tail/.gone-1", b"x")
    assert place.list("tail") == [f"tail/{n:012}" for n in (0, 1, 2, 1_200)]
    assert place.list("tail", "tail/000000000001") == ["tail/000000000002", "tail/000000001200"]
    assert place.list("tail", "tail/000000001200") == []
    assert place.sizes()["tail/.gone-1"] == 1
    assert len(place.sizes()) == 6


def test_what_is_deleted_replaced_or_moved_is_so_and_a_second_time_does_nothing(place: Place) -> None:
    place.create("blobs/a", b"first")
    place.replace("blobs/a", b"signed")
    assert place.get("blobs/a") == b"signed"
    for _ in range(2):
        place.move("blobs/a", "blobs/.gone-a")
    assert (place.get("blobs/a"), place.list("blobs")) == (None, [])
    place.move("blobs/.gone-a", "blobs/a")
    assert place.get("blobs/a") == b"signed"
    for _ in range(2):
        place.delete("blobs/a")
    assert place.get("blobs/a") is None
    assert place.create("blobs/a", b"another")


def test_nothing_and_much_are_kept_byte_for_byte(place: Place) -> None:
    for n, data in enumerate((b"", bytes(range(256)) * (40 << 10))):  # 10 MiB: more than is read in one piece
        assert place.create(f"blobs/{n}", data)
        assert place.get(f"blobs/{n}") == data


def test_a_record_is_written_sealed_and_read(place: Place) -> None:
    log, made = Log(place), list[bytes]()
    for n in range(20):
        parent = digest(made[-1]) if made else ""
        made.append(b'{"number": %d, "parent": "%s"}' % (n, parent.encode()))
        assert log.create(n, made[n])
    sealer = Sealer(place, commits=4)
    while sealer.step():
        pass
    assert place.list("tail") == ["tail/000000000019"]
    assert [Log(place).read(n) for n in range(20)] == made
    assert Log(place).read(20) is None


def test_a_registry_in_a_bucket_signs_sweeps_and_is_opened_by_another(weed: Weed, tmp_path: Path) -> None:
    at = bucket(tmp_path)
    registry = open_registry(at)
    for n in range(12):
        append(registry, empty(n, state=registry.put(b"state %d" % n)))
    assert registry.secret() == open_registry(at).secret()
    gone = sweep(registry).goes
    assert gone
    assert not [name for name in registry.objects.sizes() if ".gone-" in name]
    other = open_registry(at)
    assert other.last(COMMITS) == 11
    assert len(other.objects.list(BLOBS)) == 12 - len(gone)
    assert not (tmp_path / "local").exists()


def again(do: Callable[[], T]) -> T:
    """Ask as roles do, until it is answered: a server that has just begun, or goes on, may refuse for a while."""
    deadline = time.monotonic() + 120
    while True:
        try:
            return do()
        except RegistryUnwritable as wrong:
            if not wrong.retry_helps or time.monotonic() > deadline:
                raise


def test_what_was_answered_is_there_after_a_kill_and_who_asks_meanwhile_is_told(weed: Weed) -> None:
    place = Cloud(address())
    for n in range(30):
        assert place.create(f"tail/{n:012}", b"%d" % n)
    weed.kill()
    with pytest.raises(RegistryUnwritable) as said:
        place.create("tail/000000000030", b"30")
    assert said.value.retry_helps
    assert "not-shown" not in str(said.value)
    with pytest.raises(RegistryUnwritable):
        place.list("tail")
    weed.start()
    names = again(lambda: place.list("tail"))
    assert [again(partial(place.get, name)) for name in names] == [b"%d" % n for n in range(30)]
    assert again(lambda: place.create("tail/000000000030", b"30"))


def test_a_server_that_says_nothing_is_not_waited_for_long(weed: Weed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "ANSWER_S", 1)
    place = Cloud(address())
    with weed.silent(), pytest.raises(RegistryUnwritable):
        place.create("tail/000000000000", b"x")
    assert again(lambda: place.create("tail/000000000000", b"x"))


def test_the_probe_passes_where_a_create_has_one_winner(weed: Weed) -> None:
    Cloud(address()).probe()


class LookAlike(BaseHTTPRequestHandler):
    """Speaks enough S3 to be written to; it ignores If-None-Match, or `refuses` each create and keeps nothing."""

    refuses = False
    kept: dict[str, bytes]

    def do_PUT(self) -> None:
        data = self.rfile.read(int(self.headers["Content-Length"]))
        if not self.refuses:
            self.kept[self.path] = data
        self._say(409 if self.refuses else 200)

    def do_GET(self) -> None:
        if "list-type" in self.path:
            keys = "".join(f"<Contents><Key>{k[3:]}</Key><LastModified>2026-01-01T00:00:00Z</LastModified>"
                           f"<ETag>e</ETag><Size>{len(v)}</Size></Contents>" for k, v in self.kept.items())  # fmt: skip
            self._say(200, f"<ListBucketResult><IsTruncated>false</IsTruncated>{keys}</ListBucketResult>".encode())
        else:
            found = self.kept.get(self.path)
            self._say(404 if found is None else 200, found or b"")

    def do_POST(self) -> None:
        """Delete several at once, as far as the client is told."""
        (key,) = re.findall(rb"<Key>.*</Key>", self.rfile.read(int(self.headers["Content-Length"])))
        self._say(200, b"<DeleteResult><Deleted>" + key + b"</Deleted></DeleteResult>")

    def _say(self, status: int, body: bytes = b"") -> None:
        self.send_response(status)
        self.send_header("ETag", '"e"')
        self.send_header("Last-Modified", "Thu, 01 Jan 2026 00:00:00 GMT")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""


@pytest.fixture
def look_alike(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[bool], Cloud]]:
    class Handler(LookAlike):
        kept: dict[str, bytes] = {}  # noqa: RUF012 one server's

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.server_port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "any")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not-shown")

    def made(refuses: bool) -> Cloud:
        Handler.refuses = refuses
        return Cloud("s3://b/x")

    yield made
    server.shutdown()
    server.server_close()


def test_a_place_that_ignores_if_none_match_is_refused_at_the_start(look_alike: Callable[[bool], Cloud]) -> None:
    with pytest.raises(ConfigError, match="ignores If-None-Match"):
        look_alike(False).probe()


def test_a_create_that_is_refused_though_nothing_is_there_is_no_answer(look_alike: Callable[[bool], Cloud]) -> None:
    place = look_alike(True)
    with pytest.raises(RegistryUnwritable, match="refused as if it were there, and it is not"):
        place.create("tail/000000000000", b"x")


def test_where_nobody_listens_it_says_so_without_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://key:not-shown@127.0.0.1:{taken.getsockname()[1]}")
        with pytest.raises(RegistryUnwritable, match="s3://b/x") as said:
            Cloud("s3://b/x").probe()
    assert "not-shown" not in str(said.value)


def test_without_the_extra_the_line_that_installs_it_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> object:
        raise ImportError(name)

    monkeypatch.setattr(module, "import_module", missing)
    with pytest.raises(ConfigError, match=r"pip install 'shadowstream\[object\]'"):
        Cloud("s3://b/x")
