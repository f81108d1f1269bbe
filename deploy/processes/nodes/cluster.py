"""Whether a Ray cluster answers at an address, still answers, and whether it answers anybody: asked by hand.

Ray's own client tries for minutes, and does not say whether a token was needed. Owns two exchanges of HTTP/2 (RFC
9113), which is what a cluster's head speaks. Does not know Ray.
"""

import logging
import socket
import threading
import time
from typing import BinaryIO

from streams import hosts
from streams.errors import RayUnreachable

ANSWER_S = 5.0
ASK_EVERY_S = 2.0
LOST_S = (
    45.0  # how long a head may be silent; after 60 Ray ends each process of the cluster, ours without a word of ours
)
HELLO = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))  # and an empty frame of settings
FRAME, SETTINGS = 9, 4  # bytes of a frame's head, and what its fourth byte is where the server speaks HTTP/2
DATA, HEADERS, END_STREAM, END_HEADERS = 0, 1, 1, 4
ASKED = {  # of gRPC: whether nodes are alive, which no one may ask where there is a token
    ":method": "POST",
    ":scheme": "http",
    ":path": "/ray.rpc.NodeInfoGcsService/CheckAlive",
    ":authority": "head",
    "content-type": "application/grpc",
    "te": "trailers",
}


def check(address: str) -> None:
    """Check that something that may be a cluster's head answers at host:port.

    Raises:
        RayUnreachable: nothing answers, or another kind of server.
    """
    at = hosts.parse(address)
    if at is None or at.port is None:
        return  # "auto": Ray looks for it
    try:
        with socket.create_connection((at.name, at.port), ANSWER_S) as head:
            head.sendall(HELLO)
            answer = head.recv(FRAME)
    except TimeoutError:
        answer = b""
    except OSError as wrong:
        raise RayUnreachable(f"no Ray cluster answers at {address} (ray.address): {wrong.strerror or wrong}") from None
    if len(answer) < FRAME or answer[3] != SETTINGS:
        raise RayUnreachable(f"what answers at {address} (ray.address) is not the head of a Ray cluster")


class Head:
    """A cluster's head at host:port, asked again and again by a thread until `end`."""

    def __init__(self, address: str, every_s: float = ASK_EVERY_S) -> None:
        self._address, self._every_s = address, every_s
        self._silent_s: float | None = None  # since when it does not answer, on the monotonic clock
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._ask, daemon=True, name="head")
        self._thread.start()

    @property
    def trouble(self) -> str:
        """What people must know of it, "" while it answers."""
        if (since_s := self._silent_s) is None:
            return ""
        return f"the head of the Ray cluster at {self._address} has not answered for {time.monotonic() - since_s:.0f} s"

    def check(self, lost_s: float = LOST_S) -> None:
        """Check that it has answered within `lost_s`.

        Raises:
            RayUnreachable: it has not.
        """
        if (since_s := self._silent_s) is not None and time.monotonic() - since_s >= lost_s:
            raise RayUnreachable(f"{self.trouble}; begin the cluster and then this anew, which goes on where it was")

    def answers(self) -> bool:
        """Ask it now, and return whether it answers."""
        asked_s = time.monotonic()
        try:
            check(self._address)
        except RayUnreachable as wrong:
            if self._silent_s is None:
                self._silent_s = asked_s
                logging.getLogger("shadowstream").warning("%s; roles that are left work on for a minute", wrong)
            return False
        if self._silent_s is not None:
            logging.getLogger("shadowstream").warning("the head at %s answers again", self._address)
        self._silent_s = None
        return True

    def end(self) -> None:
        """Ask no more."""
        self._stopped.set()

    def _ask(self) -> None:
        while not self._stopped.wait(self._every_s):
            self.answers()


def open_to_all(address: str) -> bool:
    """Return whether the cluster's head at host:port answers a call that shows no token.

    Raises:
        RayUnreachable: it does not answer.
    """
    name, _, port = address.rpartition(":")
    try:
        with socket.create_connection((name.strip("[]"), int(port)), ANSWER_S) as head, head.makefile("rb") as answers:
            head.sendall(HELLO + _frame(HEADERS, END_HEADERS, _headers()) + _frame(DATA, END_STREAM, bytes(5)))
            return _answered(answers)
    except OSError as wrong:
        raise RayUnreachable(f"the Ray cluster at {address} does not answer: {wrong.strerror or wrong}") from None


def _headers() -> bytes:
    """Return the headers as HPACK (RFC 7541) has them that are in no table."""
    texts = [(name.encode(), value.encode()) for name, value in ASKED.items()]
    return b"".join(bytes((0, len(name))) + name + bytes((len(value),)) + value for name, value in texts)


def _frame(kind: int, flags: int, body: bytes) -> bytes:
    return len(body).to_bytes(3, "big") + bytes((kind, flags)) + (1).to_bytes(4, "big") + body


def _answered(answers: BinaryIO) -> bool:
    """Return whether our call gets data; a refusal is headers that end it."""
    while len(head := answers.read(FRAME)) == FRAME:
        size, kind, flags, stream = int.from_bytes(head[:3], "big"), head[3], head[4], int.from_bytes(head[5:], "big")
        answers.read(size)
        if stream == 1 and (kind == DATA or flags & END_STREAM):
            return kind == DATA
    return False
