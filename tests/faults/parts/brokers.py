"""The broker of a fault run: Apache Kafka, which keeps its log, or the embedded one, which loses it when it ends.

Owns the broker, and the proxy between it and the join. `address` is for the load, `joined` for the join.
"""

from pathlib import Path

import psutil

from deploy.embedded.servers import free_port, start_broker
from tests.faults.parts.proxy import KafkaProxy
from tests.services.kafka import Kafka

LARGEST = 8 << 20
PROPERTIES = (
    "listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT,JOIN:PLAINTEXT",
    f"message.max.bytes={LARGEST}",
    f"log.message.timestamp.after.max.ms={(1 << 63) - 1}",  # records of 2100
)


class Lasting:
    """Apache Kafka, which the join reaches through a proxy, by a listener of its own."""

    largest = LARGEST

    def __init__(self, folder: Path) -> None:
        port = free_port()
        self.proxy = KafkaProxy(port)
        folder.mkdir(parents=True, exist_ok=True)
        self.joined = f"127.0.0.1:{self.proxy.port}"
        self._kafka = Kafka(folder, PROPERTIES, [f"JOIN://127.0.0.1:{port}"], [f"JOIN://{self.joined}"])
        self.address = self._kafka.address

    def restart(self) -> None:
        """Kill it (SIGKILL), and start it again on the same port and files."""
        self._kafka.kill()
        self._kafka.start()

    @property
    def processes(self) -> list[psutil.Process]:
        """The broker's."""
        return self._kafka.processes

    def segments(self, topic: str, partition: int) -> list[Path]:
        """Return the files of a partition's log."""
        return sorted((self._kafka.folder / "data" / "log" / f"{topic}-{partition}").glob("*.log"))

    def stop(self) -> None:
        """Stop it."""
        self.proxy.close()
        self._kafka.close()


class Passing:
    """The embedded broker."""

    largest = 1 << 20

    def __init__(self, folder: Path) -> None:
        self._service = start_broker(folder)
        self.address = self.joined = self._service.address

    def stop(self) -> None:
        """Stop it."""
        self._service.stop()
