"""The registry of a fault run: a folder of this machine, or a bucket behind a proxy; what can be done to each.

Owns the object store and the proxy before it. Does not know what is kept there.
"""

import os
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psutil

from tests.faults.parts.proxy import WritersProxy
from tests.services.weed import BUCKET, Weed


class Folder:
    """A folder. `can_refuse`: whether this user and file system can make it one in which nothing may be written."""

    def __init__(self, folder: Path) -> None:
        self._folder, self.path = folder / "registry", str(folder / "registry")
        self.variables: Mapping[str, str] = {}
        self._folder.mkdir()
        self.can_refuse = self._set(refuses=True)
        self._set(refuses=False)

    @contextmanager
    def refusing(self) -> Iterator[None]:
        """Let nothing be created or deleted there for the `with`."""
        assert self._set(refuses=True)
        try:
            yield
        finally:
            self._set(refuses=False)

    def stop(self) -> None:
        """Nothing runs."""

    def _set(self, *, refuses: bool) -> bool:
        """Root may write whatever the rights say, but not where the file system says that nothing changes."""
        folders = [folder for folder, _, _ in os.walk(self._folder)]
        command = ["chattr", "+i" if refuses else "-i"] if os.geteuid() == 0 else ["chmod", "a-w" if refuses else "u+w"]
        try:
            return subprocess.run([*command, *folders], stderr=subprocess.DEVNULL, check=False).returncode == 0
        except FileNotFoundError:
            return False


class Bucket:
    """A bucket; `variables` are those by which clients find it, through the proxy."""

    path, can_refuse = f"s3://{BUCKET}/registry", True

    def __init__(self, folder: Path) -> None:
        self._weed = Weed(folder / "weed")
        self.proxy = WritersProxy(self._weed.port)
        self.variables = self._weed.settings | {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.proxy.port}"}

    @contextmanager
    def refusing(self) -> Iterator[None]:
        """Break each connection that writes, for the `with`."""
        self.proxy.unwritable.set()
        try:
            yield
        finally:
            self.proxy.unwritable.clear()

    @property
    def processes(self) -> list[psutil.Process]:
        """The object store's."""
        return [psutil.Process(self._weed.process.pid)]

    def kill(self) -> None:
        """Kill it (SIGKILL)."""
        self._weed.kill()

    def start(self) -> None:
        """Start it again, on the same ports and files."""
        self._weed.start()

    def stop(self) -> None:
        """Stop it."""
        self.proxy.close()
        self._weed.kill()


Registries = Folder | Bucket
