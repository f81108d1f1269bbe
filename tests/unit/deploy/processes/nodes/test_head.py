"""A cluster's head that stops answering is noticed, said, and, where it does not come back, the end."""

import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress

import pytest

from deploy.processes.nodes.cluster import FRAME, SETTINGS, Head
from streams.errors import RayUnreachable
from tests.cases.join import until


@contextmanager
def answering(port: int = 0) -> Iterator[int]:
    """Answer as a head does; yield the port."""
    with closing(socket.create_server(("127.0.0.1", port))) as server:

        def answer() -> None:
            with suppress(OSError):  # it is closed
                while True:
                    with server.accept()[0] as client:
                        client.recv(1_024)
                        client.sendall(bytes(3) + bytes((SETTINGS,)) + bytes(FRAME - 4))

        thread = threading.Thread(target=answer)
        thread.start()
        try:
            yield server.getsockname()[1]
        finally:
            server.shutdown(socket.SHUT_RDWR)
            thread.join()


def test_a_head_that_is_silent_is_said_and_too_long_a_silence_is_the_end() -> None:
    with answering() as port:
        head = Head(f"127.0.0.1:{port}", every_s=0.001)
        assert not head.trouble
    try:
        until(lambda: head.trouble)
        assert head.trouble.startswith(f"the head of the Ray cluster at 127.0.0.1:{port} has not answered for 0 s")
        head.check(lost_s=3_600)
        with pytest.raises(RayUnreachable, match="begin the cluster and then this anew"):
            head.check(lost_s=0)
        with answering(port):
            until(lambda: not head.trouble)
            head.check(lost_s=0)
    finally:
        head.end()
