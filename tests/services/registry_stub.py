"""A schema registry for the tests: the part of Confluent's HTTP API that a reader of events uses, on its own port.

Keeps schemas by id, GUID and (subject, version); refuses requests without its `authorization`, where it has one;
answers `failing` instead, where it is set; and counts the requests.
"""

import json
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit


class RegistryStub(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.schemas: dict[str, dict[str, Any]] = {}
        self.authorization: str | None = None
        self.failing: tuple[int, bytes] | None = None
        self.asked: list[str] = []
        self.scheme = "http"

    @property
    def url(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.server_port}"

    def add(
        self, place: int | str | tuple[str, int], schema: str, kind: str = "AVRO", references: tuple[Any, ...] = ()
    ) -> None:
        answer: dict[str, Any] = {"schema": schema} | ({"schemaType": kind} if kind != "AVRO" else {})
        if references:
            answer["references"] = [dict(zip(("name", "subject", "version"), r, strict=True)) for r in references]
        paths = {int: "/schemas/ids/{0}", str: "/schemas/guids/{0}", tuple: "/subjects/{0[0]}/versions/{0[1]}"}
        self.schemas[paths[type(place)].format(place)] = answer

    def secure(self, key_and_certificate: Path) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(key_and_certificate)
        self.socket, self.scheme = context.wrap_socket(self.socket, server_side=True), "https"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Print nothing: clients here close connections on purpose."""


class _Handler(BaseHTTPRequestHandler):
    server: RegistryStub

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        self._answer(*self._found())

    def _found(self) -> tuple[int, bytes]:
        if self.server.failing:
            return self.server.failing
        if self.server.authorization not in (None, self.headers["Authorization"]):
            return 401, b'{"error_code":401,"message":"Unauthorized"}'
        answer = self.server.schemas.get(unquote(urlsplit(self.path).path))
        if answer is None:
            return 404, b'{"error_code":40403,"message":"Schema not found"}'
        return 200, json.dumps(answer).encode()

    def _answer(self, code: int, body: bytes) -> None:
        self.send_response(code)
        self.send_header("Content-Type", "application/vnd.schemaregistry.v1+json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:
        pass


@contextmanager
def registry() -> Iterator[RegistryStub]:
    """Run one until the block ends."""
    with RegistryStub() as stub:
        thread = threading.Thread(target=stub.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield stub
        finally:
            stub.shutdown()
            thread.join()
