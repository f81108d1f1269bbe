"""Where a feed is kept: at an address, with a folder of this machine for what is of this machine alone.

Owns what is kept where. Does not know what is kept.
"""

from pathlib import Path

from msgspec import Struct

from deploy.registry.storage.cloud import Cloud
from deploy.registry.storage.disk import Disk
from deploy.registry.storage.objects import Place

LOCAL = ".shadowstream"  # in the working directory: locks, addresses and data of embedded services, unpacked code


class Home(Struct, frozen=True):
    """A feed's: `address` is what people are shown; in `folder` is what nobody on another machine needs.

    Of a feed that is kept on a disk both are the same folder.

    >>> str(home("s3://models/live/", "ads")), home("s3://models/live/", "ads").name
    ('s3://models/live/ads', 'ads')
    """

    address: str
    folder: Path

    def __str__(self) -> str:
        return self.address

    @property
    def name(self) -> str:
        """The feed's name."""
        return self.address.rpartition("/")[2]

    @property
    def local(self) -> bool:
        """Whether all of it is in the folder."""
        return not is_address(self.address)

    @property
    def objects(self) -> Place:
        """What is kept there.

        Raises:
            ConfigError: it is an address, and the extra is not installed.
        """
        return Disk(self.folder) if self.local else Cloud(self.address)

    def check(self) -> None:
        """Check that a bucket keeps what is created there; a folder is not asked.

        Raises:
            ConfigError: it does not.
            RegistryUnwritable: it does not answer, or refuses.
        """
        if isinstance(objects := self.objects, Cloud):
            objects.probe()

    def of(self, name: str) -> str:
        """Return where an object is, for people."""
        return f"{self.address}/{name}"


Where = Home | Path  # a feed's home, or the folder that is one


def is_address(path: str) -> bool:
    """Return whether `registry.path` is an address and not a folder."""
    return "://" in path


def home(path: str, feed: str) -> Home:
    """Return where a feed is kept, by `registry.path`."""
    if is_address(path):
        return Home(f"{path.rstrip('/')}/{feed}", Path(LOCAL).resolve() / feed)
    return at(Path(path).resolve() / feed)


def root(path: str) -> Place:
    """Return what is beside the feeds, by `registry.path`."""
    return Cloud(path.rstrip("/")) if is_address(path) else Disk(Path(path))


def at(where: Where) -> Home:
    """Return a feed's home, which may be given as its folder."""
    return where if isinstance(where, Home) else Home(str(where), where)
