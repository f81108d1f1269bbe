"""A feed's commits are sealed beside its run, and its syncs bundled, a thread each; what goes wrong ends nothing.

Owns when these look, and what is said of their errors. Does not know what they do.
"""

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from threading import Event

from deploy.registry.beside import beside
from deploy.registry.log.bundler import Bundler
from deploy.registry.log.sealer import Sealer
from deploy.registry.storage.home import Where, at
from streams.errors import ShadowstreamError

EVERY_S = 5.0


@contextmanager
def sealing(where: Where) -> Iterator[None]:
    """Seal the commits of a registry for the `with`, and bundle its syncs."""
    sealer, bundler = Sealer(at(where).objects), Bundler(at(where).objects)
    with beside("sealer", partial(seal, sealer)), beside("bundler", partial(seal, bundler)):
        yield


def seal(worker: Sealer | Bundler, ended: Event, every_s: float = EVERY_S) -> None:
    """Do what is due, every so many seconds until it is `ended`; an error is said once, and tried again."""
    said = ""
    while not ended.wait(every_s):
        try:
            while worker.step() and not ended.is_set():
                pass
            said = ""
        except (ShadowstreamError, OSError) as wrong:
            if str(wrong) != said:
                logging.getLogger("shadowstream").warning("%s: %s; %s", worker.name, wrong, worker.stays)
            said = str(wrong)
