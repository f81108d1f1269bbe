"""Whether a Ray cluster answers at an address: asked by hand, because Ray's own client tries for minutes.

Owns one exchange of HTTP/2, which is what a cluster's head speaks. Does not know Ray.
"""

import socket

from streams import hosts
from streams.errors import RayUnreachable

ANSWER_S = 5.0
HELLO = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))  # and an empty frame of settings
FRAME, SETTINGS = 9, 4  # bytes of a frame's head, and what its fourth byte is where the server speaks HTTP/2


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
