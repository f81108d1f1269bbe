"""A TCP proxy that breaks: it drops connections and swallows replies on command.

Owns sockets and threads. Does not know the protocol that passes through it.
"""

import contextlib
import socket
import threading

CHUNK = 1 << 16


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

    def close(self) -> None:
        """End."""
        self._server.close()
        self.drop()

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
                threading.Thread(target=self._pump, args=(pair, client, server, False), daemon=True).start()
                threading.Thread(target=self._pump, args=(pair, server, client, True), daemon=True).start()

    def _pump(
        self, pair: tuple[socket.socket, socket.socket], source: socket.socket, target: socket.socket, replies: bool
    ) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(CHUNK):
                if replies and self._swallow > 0:
                    self._swallow -= 1
                    break
                target.sendall(data)
        with self._lock:
            self._pairs.discard(pair)
        _break(pair)


def _break(pair: tuple[socket.socket, socket.socket]) -> None:
    for one in pair:
        with contextlib.suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)
        one.close()
