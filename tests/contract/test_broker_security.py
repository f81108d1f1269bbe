"""TLS, users and rights on a real Apache Kafka: who may connect, and what a refusal says. Tansu has none of these.

One broker with four listeners: an open one, whose user ANONYMOUS may do everything and grants the rest, and one each of
SASL_SSL, SASL_PLAINTEXT and SSL, the last asking for a certificate of ours.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from kafka import KafkaAdminClient
from kafka.admin import (
    ACL,
    ACLOperation,
    ACLPermissionType,
    ResourcePattern,
    ResourceType,
    ScramMechanism,
    UserScramCredentialUpsertion,
)

from streams.errors import BrokerRefused, ConfigError
from streams.kafka import Sink, Source, Tp, ensure_topics, topic_settings
from streams.kafka.broker import Broker
from streams.kafka.reading.positions import Positions
from tests.contract.brokers import drain, values, write
from tests.services.certificates import Authority
from tests.services.kafka import Kafka, free_ports

pytestmark = pytest.mark.long
PASSWORD = "hunter2"
KEY_PASSWORD = "hunter3"
WRONG = "hunter4"
TP = Tp("guarded", 0)
Grant = Callable[[str, str, str], None]


class Guarded(NamedTuple):
    """The broker's addresses, and the certificates that it accepts."""

    open: str
    sasl_ssl: str
    sasl_plain: str
    ssl: str
    ca: str
    stranger: str
    ours: str


def properties(folder: Path) -> list[str]:
    module = "org.apache.kafka.common.security"
    jaas = "sasl.jaas.config"
    made = [f"ssl.{what}.type=PEM" for what in ("keystore", "truststore")]
    made += [f"ssl.keystore.location={folder / 'broker.pem'}", f"ssl.truststore.location={folder / 'authority.pem'}"]
    made += ["listener.name.ssl.ssl.client.auth=required", "sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512"]
    for name in ("sasl_ssl", "sasl_plaintext"):
        made.append(
            f"listener.name.{name}.plain.{jaas}={module}.plain.PlainLoginModule required user_plain={PASSWORD};"
        )
        for number in (256, 512):
            made.append(f"listener.name.{name}.scram-sha-{number}.{jaas}={module}.scram.ScramLoginModule required;")
    made += ["authorizer.class.name=org.apache.kafka.metadata.authorizer.StandardAuthorizer"]
    return [*made, "super.users=User:ANONYMOUS"]


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Guarded]:
    folder = tmp_path_factory.mktemp("guarded")
    authority, stranger = Authority(folder, "authority"), Authority(folder, "stranger")
    authority.sign("broker")
    ours = authority.sign("joiner", password=KEY_PASSWORD)
    places = [f"127.0.0.1:{port}" for port in free_ports(3)]
    listeners = [f"{kind}://{at}" for kind, at in zip(("SASL_SSL", "SASL_PLAINTEXT", "SSL"), places, strict=True)]
    with closing(Kafka(folder, properties(folder), listeners)) as kafka:
        with closing(KafkaAdminClient(bootstrap_servers=kafka.address)) as admin:
            mechanisms = (ScramMechanism.SCRAM_SHA_256, ScramMechanism.SCRAM_SHA_512)
            for user in ("joiner", "reader", "writer", "nobody", "sampler"):
                for mechanism in mechanisms:
                    admin.alter_user_scram_credentials([UserScramCredentialUpsertion(user, mechanism, PASSWORD)])
        ensure_topics(kafka.address, {TP.topic: 1})
        sasl_ssl, sasl_plain, ssl = places
        yield Guarded(kafka.address, sasl_ssl, sasl_plain, ssl, str(authority.path), str(stranger.path), str(ours))


@pytest.fixture(scope="module")
def grant(guarded: Guarded) -> Iterator[Grant]:
    with closing(KafkaAdminClient(bootstrap_servers=guarded.open)) as admin:

        def granting(user: str, operation: str, resource: str) -> None:
            kind, _, name = resource.partition(" ")
            acl = ACL(
                *(f"User:{user}", "*", ACLOperation[operation.replace("eC", "e_C").upper()], ACLPermissionType.ALLOW),
                ResourcePattern(ResourceType[kind.upper()], name),
            )
            assert admin.create_acls([acl])["failed"] == []

        yield granting


def scram(guarded: Guarded, user: str = "joiner", **other: Any) -> Broker:
    keys = {
        "bootstrap": guarded.sasl_ssl,
        "security_protocol": "SASL_SSL",
        "ssl_cafile": guarded.ca,
        "sasl_mechanism": "SCRAM-SHA-256",
        "sasl_username": user,
        "sasl_password": PASSWORD,
    }
    return Broker(**keys | other)


def test_who_has_the_password_and_the_rights_gets_in(guarded: Guarded, grant: Grant) -> None:
    for user, mechanism in (("joiner", "SCRAM-SHA-256"), ("joiner", "SCRAM-SHA-512"), ("plain", "PLAIN")):
        for operation in ("Read", "Write", "DescribeConfigs"):
            grant(user, operation, f"topic {TP.topic}")
        at = scram(guarded, user, sasl_mechanism=mechanism)
        ensure_topics(at, {TP.topic: 1})
        assert topic_settings(at, [TP.topic])[TP.topic].retention_ms == -1
        with closing(Sink(at)) as sink, closing(Source(at, [TP])) as source:
            source.seek(TP, source.ends()[TP])
            write(sink, TP, 2)
            assert values(drain(source, 2)) == [b"v0", b"v1"]


def test_a_certificate_of_ours_gets_in(guarded: Guarded, grant: Grant) -> None:
    grant("CN=joiner", "Write", f"topic {TP.topic}")
    with closing(Sink(certified(guarded))) as sink:
        write(sink, TP, 1)


def certified(guarded: Guarded, **other: Any) -> Broker:
    keys = {
        "bootstrap": guarded.ssl,
        "security_protocol": "SSL",
        "ssl_cafile": guarded.ca,
        "ssl_certfile": guarded.ours,
        "ssl_password": KEY_PASSWORD,
    }
    return Broker(**keys | other)


def test_who_is_not_let_in_is_told_why(guarded: Guarded) -> None:
    cases: list[tuple[Broker, str]] = [
        (scram(guarded, sasl_password=WRONG), "user 'joiner' is refused by SCRAM-SHA-256.*check kafka.sasl_username"),
        (scram(guarded, sasl_mechanism="PLAIN"), "user 'joiner' is refused by PLAIN"),
        (scram(guarded, ssl_cafile=guarded.stranger), "is not trusted.*kafka.ssl_cafile must be"),
        (scram(guarded, ssl_cafile=None), "is not trusted.*kafka.ssl_cafile must be"),
        (
            scram(guarded, bootstrap=guarded.sasl_ssl.replace("127.0.0.1", "localhost")),
            "is not trusted.*kafka.ssl_check_hostname = false",
        ),
        (Broker(bootstrap=guarded.sasl_ssl), "speaks TLS: kafka.security_protocol must be 'SSL' or 'SASL_SSL'"),
        (scram(guarded, bootstrap=guarded.open), "without TLS: kafka.security_protocol must be 'PLAINTEXT'"),
        (scram(guarded, bootstrap=guarded.sasl_plain), "without TLS: .* must be 'SASL_PLAINTEXT'"),
        (Broker(bootstrap=guarded.sasl_plain), "asks for a user by SASL .*SCRAM-SHA-256.* must be 'SASL_PLAINTEXT'"),
        (
            scram(guarded, bootstrap=guarded.open, security_protocol="SASL_PLAINTEXT", ssl_cafile=None),
            "asks for no user: kafka.security_protocol must be 'PLAINTEXT'",
        ),
        (certified(guarded, ssl_certfile=None, ssl_password=None), "refuses TLS.*ssl_certfile is asked for"),
    ]
    with ThreadPoolExecutor(len(cases)) as pool:
        tries = [(pool.submit(Sink, at), said) for at, said in cases]
        for tried, said in tries:
            with pytest.raises(BrokerRefused, match=said) as raised:
                tried.result()
            assert not any(word in str(raised.value) for word in (PASSWORD, KEY_PASSWORD, WRONG))


def test_files_that_hold_something_else_are_told_at_once(guarded: Guarded) -> None:
    with pytest.raises(ConfigError, match=r"kafka\.ssl_cafile holds no certificates"):
        Sink(scram(guarded, ssl_cafile=__file__))
    with pytest.raises(ConfigError, match=r"kafka\.ssl_password is not the key's") as raised:
        Sink(certified(guarded, ssl_password=WRONG))
    assert WRONG not in str(raised.value)


def test_a_missing_right_is_named_with_the_command_that_grants_it(guarded: Guarded, grant: Grant) -> None:
    def read(user: str, group: str | None = None) -> object:
        if group:
            with closing(Positions(scram(guarded, user), group, [TP.topic])) as positions:
                positions.committed([TP])
        with closing(Source(scram(guarded, user), [TP])) as source:
            return source.poll(5_000, 1)

    def produce(user: str) -> None:
        with closing(Sink(scram(guarded, user))) as sink:
            write(sink, TP, 1)

    def transact(user: str) -> None:
        with closing(Sink(scram(guarded, user), transactional_id="w")) as sink, sink.transaction():
            write(sink, TP, 1)

    def refused(said: str, call: Callable[..., object], *arguments: object) -> None:
        user, (right, resource, name) = arguments[0], said.replace("'", "").split()
        operation = {"IDEMPOTENTWRITE": "IdempotentWrite"}.get(right, right.title())
        flag = "--cluster" if resource == "cluster" else f"--{resource} {name}"
        with pytest.raises(BrokerRefused) as raised:
            call(*arguments)
        message = str(raised.value)
        assert f"user '{user}' may not {said}" in message
        command = f"kafka-acls --add --allow-principal User:{user} --operation {operation} {flag}"
        assert message.endswith(f"; an administrator can grant it: {command}")

    with closing(Sink(guarded.open)) as sink:
        write(sink, TP, 1)
    refused("READ topic 'guarded'", read, "nobody")
    refused("WRITE topic 'guarded'", produce, "nobody")
    refused("CREATE topic 'new'", lambda user: ensure_topics(scram(guarded, user), {"new": 1}), "nobody")
    grant("reader", "Read", "topic guarded")
    refused("READ group 'readers'", read, "reader", "readers")
    grant("reader", "Read", "group readers")
    read("reader", "readers")
    refused("IDEMPOTENTWRITE cluster 'kafka-cluster'", produce, "reader")
    grant("writer", "Write", "topic guarded")
    produce("writer")
    refused("READ topic 'guarded'", read, "writer")
    refused("WRITE transactional-id 'w'", transact, "writer")
    grant("writer", "Write", "transactional_id w")
    transact("writer")
