"""TCP proxies that break: they drop connections, swallow replies, and lead elsewhere on command.

Own sockets and threads. `Proxy` does not know the protocol that passes through it; `KafkaProxy` and `WritersProxy` know
where a request begins and of what kind it is, so that they can let readers through and no writer.
"""

import contextlib
import socket
import threading
from collections.abc import Callable

CHUNK = 1 << 16
WRITES = (b"PUT ", b"POST ", b"DELETE ")  # how HTTP requests begin that change something
PRODUCE = 0  # a request's kind, in its first two bytes after its length
Passes = Callable[[bytes], bool]


class Proxy:
    """Passes connections on to `port` of this machine. `swallow`: lets so many requests through, and loses the replies.

    A client then sees a broken connection and cannot know that its request was done.
    """

    def __init__(self, port: int) -> None:
        self._to = port
        self._server = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._server.getsockname()[1]
        self._pairs: set[tuple[socket.socket, socket.socket]] = set()
        self._swallow = 0
        self._lock = threading.Lock()
        threading.Thread(target=self._accept, daemon=True).start()

    def drop(self) -> None:
        """Break every connection."""
        with self._lock:
            pairs, self._pairs = self._pairs, set()
        for pair in pairs:
            _break(pair)

    def swallow(self, replies: int) -> None:
        """Lose the next replies, and break their connections."""
        self._swallow = replies

    def lead(self, port: int) -> None:
        """Pass everything on to another port from now on."""
        self._to = port
        self.drop()

    def close(self) -> None:
        """Stop it."""
        self._server.close()
        self.drop()

    def requests(self) -> Passes:
        """Return a function that judges a new connection's bytes to the server; False breaks the connection."""
        return lambda _: True

    def _replies(self) -> Passes:
        def passes(_: bytes) -> bool:
            lost = self._swallow > 0
            self._swallow -= lost
            return not lost

        return passes

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._server.accept()
                try:
                    server = socket.create_connection(("127.0.0.1", self._to), timeout=5)
                except OSError:
                    client.close()
                    continue
                server.settimeout(None)
                pair = client, server
                with self._lock:
                    self._pairs.add(pair)
                for source, target, passes in ((client, server, self.requests()), (server, client, self._replies())):
                    threading.Thread(target=self._pump, args=(pair, source, target, passes), daemon=True).start()

    def _pump(
        self, pair: tuple[socket.socket, socket.socket], source: socket.socket, target: socket.socket, passes: Passes
    ) -> None:
        with contextlib.suppress(OSError):
            while (data := source.recv(CHUNK)) and passes(data):
                target.sendall(data)
        with self._lock:
            self._pairs.discard(pair)
        _break(pair)


class WritersProxy(Proxy):
    """An HTTP server's proxy. While `unwritable` is set, a connection breaks at a request that writes."""

    def __init__(self, port: int) -> None:
        self.unwritable = threading.Event()
        super().__init__(port)

    def requests(self) -> Passes:
        """Judge each piece by its first bytes: a client begins a request once it has the last one's answer."""
        return lambda data: not (self.unwritable.is_set() and data.startswith(WRITES))


class KafkaProxy(Proxy):
    """A broker's proxy. While `unwritable` is set, a connection that writes records breaks before they pass."""

    def __init__(self, port: int) -> None:
        self.unwritable = threading.Event()
        super().__init__(port)

    def requests(self) -> Passes:
        """Follow the requests by the length before each, and judge each by its kind."""
        buffer = bytearray()
        left = 0  # of the request that is on its way

        def passes(data: bytes) -> bool:
            nonlocal left
            passed = min(left, len(data))
            left -= passed
            buffer.extend(data[passed:])
            while len(buffer) >= 6:
                size, kind = int.from_bytes(buffer[:4], "big") + 4, int.from_bytes(buffer[4:6], "big")
                if kind == PRODUCE and self.unwritable.is_set():
                    return False
                left = max(0, size - len(buffer))
                del buffer[:size]
            return True

        return passes


def _break(pair: tuple[socket.socket, socket.socket]) -> None:
    for one in pair:
        with contextlib.suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)
        one.close()
