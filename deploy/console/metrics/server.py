"""Where Prometheus fetches the looks: `/metrics`, and `/healthz` for whoever asks whether the run goes on.

Owns the HTTP. Does not know what is told of a feed, nor how it is looked at.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socket import AF_INET6
from threading import Thread

from deploy.console.metrics.text import CONTENT_TYPE
from streams.errors import ConfigError
from streams.hosts import Host

IDLE_S = 10.0  # a connection that says nothing is closed
PLAIN = "text/plain; charset=utf-8"


@contextmanager
def serving(at: Host, metrics: Callable[[], str], unwell: Callable[[], str]) -> Iterator[Host]:
    """Answer until the `with` ends, from a thread of its own; yield where.

    `metrics` returns what `/metrics` answers, `unwell` why `/healthz` answers 503, "" where all is well. Both are
    called for each request, from several threads.

    Raises:
        ConfigError: the address is taken, or is not this machine's.
    """

    class Handler(BaseHTTPRequestHandler):
        timeout = IDLE_S

        def do_GET(self) -> None:
            if self.path == "/metrics":
                self._answer(HTTPStatus.OK, metrics(), CONTENT_TYPE)
            elif self.path == "/healthz":
                why = unwell()
                self._answer(HTTPStatus.SERVICE_UNAVAILABLE if why else HTTPStatus.OK, f"{why or 'ok'}\n", PLAIN)
            else:
                self._answer(HTTPStatus.NOT_FOUND, "here are /metrics and /healthz\n", PLAIN)

        def _answer(self, status: HTTPStatus, text: str, kind: str) -> None:
            body = text.encode()
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: object) -> None:
            pass

    class Server(ThreadingHTTPServer):
        address_family = AF_INET6 if ":" in at.name else ThreadingHTTPServer.address_family

    try:
        server = Server((at.name, at.port or 0), Handler)
    except OSError as wrong:
        raise ConfigError(f"metrics.listen: cannot listen at {at.name}:{at.port}: {wrong.strerror or wrong}") from None
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.1}, name="metrics", daemon=True)
    thread.start()
    try:
        yield Host(at.name, server.server_address[1])
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
