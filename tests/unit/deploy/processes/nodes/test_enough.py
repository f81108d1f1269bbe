"""What a cluster's nodes have, compared with what a run needs of them: a refusal says both, and what would be right."""

import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import msgspec
import pytest

from deploy.config import Kafka, Redis, Registry, Settings
from deploy.placement import Needs, Ray
from deploy.processes.nodes import cluster
from deploy.processes.nodes.enough import Offered, check
from deploy.processes.roles import names
from streams.errors import ConfigError, RayUnreachable

HERE = socket.gethostname()
REACHED = Settings(kafka=Kafka(bootstrap="k:1"), redis=Redis(url="redis://r"), registry=Registry(path="s3://bucket/a"))
SMALL, LARGE = Offered("a", Needs(cpus=1)), Offered("b", Needs(cpus=8, labels={"zone": "b"}))


def refusal(settings: Settings, *nodes: Offered) -> str:
    try:
        check(settings, names(settings), nodes)
    except ConfigError as wrong:
        return str(wrong)
    return ""


def need(**needs: Any) -> Settings:
    return msgspec.structs.replace(REACHED, ray=Ray(address="h:1", roles={"learner": Needs(**needs)}))


def test_a_role_needs_one_node_that_has_all_of_it() -> None:
    assert not refusal(need(cpus=8, labels={"zone": "b"}), SMALL, LARGE)
    said = refusal(need(cpus=9, labels={"zone": "b"}), SMALL, LARGE)
    assert said == (
        "ray.roles.learner needs cpus = 9, labels zone = 'b', and no node has that: a has cpus = 1; "
        "b has cpus = 8, labels zone = 'b'; set less, or add such a node"
    )
    assert refusal(need(cpus=1, labels={"zone": "a"}), SMALL, LARGE)
    assert refusal(need(gpus=1), SMALL, LARGE)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"kafka": Kafka()}, "set kafka.bootstrap and redis.url"),
        ({"redis": Redis()}, "set kafka.bootstrap and redis.url"),
        ({"redis": Redis(url="unix:///store")}, "set kafka.bootstrap and redis.url"),
        ({"registry": Registry(path="kept")}, "registry.path = 'kept' is a folder of this one: set registry.path to a"),
    ],
)
def test_what_is_of_this_machine_alone_is_refused_where_roles_may_be_elsewhere(
    change: dict[str, Any], said: str
) -> None:
    settings = msgspec.structs.replace(REACHED, **change)
    alone = Offered(HERE, Needs(cpus=1))
    assert not refusal(settings, alone)
    for nodes in ((SMALL,), (alone, alone)):
        assert said in refusal(settings, *nodes)
        assert "ray.address = 'local'" in refusal(settings, *nodes)


def test_a_folder_that_all_nodes_see_is_said_to_be_one() -> None:
    assert not refusal(msgspec.structs.replace(REACHED, registry=Registry(path="/mnt/kept", shared=True)), SMALL, LARGE)


def test_joiners_alone_read_no_registry_and_it_may_be_of_this_machine() -> None:
    settings = msgspec.structs.replace(REACHED, registry=Registry(path="kept"))
    check(settings, ["joiner-0", "joiner-1"], (SMALL, LARGE))
    with pytest.raises(ConfigError, match="set registry"):
        check(settings, ["joiner-0", "learner"], (SMALL, LARGE))


def test_what_ray_says_of_a_node_is_read() -> None:
    told = {
        "NodeManagerHostname": "b",
        "Resources": {"CPU": 8.0, "memory": 24_529_154_048.0, "node:10.0.0.1": 1.0},
        "Labels": {"zone": "b", "ray.io/node-id": "27c8"},
    }
    assert Offered.of(told) == Offered("b", Needs(cpus=8, memory_gb=24.53, labels={"zone": "b"}))


def frame(kind: int, flags: int, stream: int, body: bytes = b"") -> bytes:
    return len(body).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + body


@contextmanager
def head(*frames: bytes) -> Iterator[str]:
    """Answer as a head does, with its settings and these frames; yield its address."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:

        def answer() -> None:
            with server.accept()[0] as client:
                client.recv(1_024)
                client.sendall(frame(4, 0, 0) + b"".join(frames))

        threading.Thread(target=answer, daemon=True).start()
        yield f"127.0.0.1:{server.getsockname()[1]}"


def test_a_head_that_answers_a_call_without_a_token_is_open_to_all() -> None:
    with head(frame(8, 0, 0, bytes(4)), frame(1, 4, 1, b"200"), frame(0, 0, 1, b"yes")) as address:
        assert cluster.open_to_all(address)
    with head(frame(6, 0, 0, bytes(8)), frame(1, 5, 1, b"grpc-status 16")) as address:
        assert not cluster.open_to_all(address)
    with head() as address:
        assert not cluster.open_to_all(address)
    with pytest.raises(RayUnreachable, match="does not answer: Connection refused"):
        cluster.open_to_all("127.0.0.1:1")
