"""Bytes that are created once, wherever they are kept.

objects.py     the calls that a registry is kept with
disk.py        files of this machine, and what makes them last
memory.py      for tests
cloud.py       a bucket: S3, Google Cloud Storage, Azure
home.py        where a feed is kept: its address, and this machine's folder
"""

from deploy.registry.storage.disk import Disk, create, names, read, replace
from deploy.registry.storage.objects import Objects

__all__ = ["Disk", "Objects", "create", "names", "read", "replace"]
