"""An embedded broker whose log is kept: what it acknowledged is there after every end, at its place, once."""

import sys
from contextlib import closing
from pathlib import Path

import msgspec
import pytest

from deploy import contradictions
from deploy.config import Kafka, Settings
from deploy.embedded.services import ADDRESSES, MEMORY, Services, provided
from streams.errors import ConfigError
from streams.kafka import Sink, Source, Tp, ensure_topics
from streams.kafka.reading.scan import records
from streams.kafka.topics import owner

DURABLE = msgspec.structs.replace(Settings(), kafka=Kafka(embedded="durable"))
TP = Tp("ads", 0)
linux = pytest.mark.skipif(sys.platform != "linux", reason="the wheel of the object store is for Linux")


def send(services: Services, numbers: range) -> None:
    """Send records, and return once all are acknowledged."""
    with closing(Sink(services.settings.kafka)) as sink:
        for n in numbers:
            sink.send(TP, key=b"k", value=b"%d" % n, t_ms=n)
        sink.flush()


def log(services: Services) -> list[tuple[int, bytes | None]]:
    """Return offset and value of each record."""
    with closing(Source(services.settings.kafka, [TP])) as source:
        return [(record.offset, record.value) for record in records(source)]


@linux
@pytest.mark.parametrize("killed", [("bucket",), ("broker",), ("bucket", "broker")], ids="+".join)
def test_what_was_acknowledged_outlives_its_processes_and_the_run(
    tmp_path: Path, killed: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")  # of the user's own S3
    monkeypatch.setenv("AWS_SESSION_TOKEN", "theirs")
    said: list[str] = []
    with provided(DURABLE, tmp_path, said.append, fresh=False) as services:
        services.holds = True
        assert services.lasting
        ensure_topics(services.settings.kafka, {TP.topic: 1})
        ours = owner(services.settings.kafka, (TP.topic,))
        send(services, range(100))
        for name in killed:
            services._running[name].kill()
        services.check()
        send(services, range(100, 200))
    assert [line.split()[1] for line in said if line.endswith("again")] == list(killed)
    assert MEMORY not in said
    with provided(DURABLE, tmp_path, said.append, fresh=False) as services:
        assert log(services) == [(n, b"%d" % n) for n in range(200)]
        assert owner(services.settings.kafka, (TP.topic,)) == ours


@linux
def test_a_folder_goes_on_as_it_began(tmp_path: Path) -> None:
    said: list[str] = []
    with provided(Settings(), tmp_path / "memory", said.append, fresh=False) as services:
        services.holds = True
        assert not services.lasting
    assert MEMORY in said
    with pytest.raises(ConfigError, match="log is gone"), provided(DURABLE, tmp_path / "memory", print, fresh=False):
        pass
    (tmp_path / "kept" / "services" / "bucket").mkdir(parents=True)
    (tmp_path / "kept" / ADDRESSES).write_text("{}")
    with (
        pytest.raises(ConfigError, match=r"log is kept: set kafka\.embedded = 'durable'"),
        provided(Settings(), tmp_path / "kept", print, fresh=False),
    ):
        pass


def test_one_that_keeps_its_log_beside_one_that_is_named_is_refused() -> None:
    both = msgspec.structs.replace(Settings(), kafka=Kafka(embedded="durable", bootstrap="a:9092"))
    with pytest.raises(ConfigError, match=r"kafka\.embedded.*kafka\.bootstrap"):
        contradictions.check(both, "ads")


def test_without_the_object_store_it_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("deploy.embedded.bucket.files", lambda _: [])
    with (
        pytest.raises(ConfigError, match=r"pip install 'shadowstream\[durable\]'"),
        provided(DURABLE, tmp_path, print, fresh=False),
    ):
        pass
