"""Objects in memory, for tests and for what is asked once.

Owns that a create has one winner among threads. Does not last.
"""

from threading import Lock


class Memory:
    """Objects that end with the process.

    >>> objects = Memory()
    >>> objects.create("tail/0", b"first"), objects.create("tail/0", b"second"), objects.get("tail/0")
    (True, False, b'first')
    """

    def __init__(self) -> None:
        self._kept: dict[str, bytes] = {}
        self._lock = Lock()

    def create(self, name: str, data: bytes, *, private: bool = False) -> bool:
        """Create an object, or return False because it is there."""
        with self._lock:
            return name not in self._kept and self._kept.setdefault(name, data) is data

    def get(self, name: str) -> bytes | None:
        """Return an object, None if there is none."""
        return self._kept.get(name)

    def list(self, folder: str, after: str = "") -> list[str]:
        """Return the names in a folder that come after a name, in their order."""
        with self._lock:
            names = [*self._kept]
        begin = f"{folder}/"
        return sorted(name for name in names if name.startswith(begin) and name > after and name[len(begin)] != ".")

    def delete(self, name: str) -> None:
        """Delete an object; it may be gone already."""
        with self._lock:
            self._kept.pop(name, None)

    def replace(self, name: str, data: bytes) -> None:
        """Put bytes in the place of an object."""
        with self._lock:
            self._kept[name] = data

    def move(self, name: str, to: str) -> None:
        """Give an object another name; it may be gone already."""
        with self._lock:
            if name in self._kept:
                self._kept[to] = self._kept.pop(name)

    def sizes(self) -> dict[str, int]:
        """Return the bytes of every object, by name."""
        with self._lock:
            return {name: len(data) for name, data in sorted(self._kept.items())}
