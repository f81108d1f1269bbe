"""A feed's commits are sealed beside its run, in a thread; what goes wrong is said, and ends nothing.

Owns when the sealer looks, and what is said of its errors. Does not know what it does.
"""

import logging
from contextlib import AbstractContextManager
from functools import partial
from threading import Event

from deploy.registry.beside import beside
from deploy.registry.log.sealer import Sealer
from deploy.registry.storage.home import Where, at
from streams.errors import ShadowstreamError

EVERY_S = 5.0


def sealing(where: Where) -> AbstractContextManager[None]:
    """Seal the commits of a registry for the `with`."""
    return beside("sealer", partial(seal, Sealer(at(where).objects)))


def seal(sealer: Sealer, ended: Event, every_s: float = EVERY_S) -> None:
    """Seal what is due, every so many seconds until it is `ended`; an error is said once, and tried again."""
    said = ""
    while not ended.wait(every_s):
        try:
            while sealer.step() and not ended.is_set():
                pass
            said = ""
        except (ShadowstreamError, OSError) as wrong:
            if str(wrong) != said:
                logging.getLogger("shadowstream").warning("sealer: %s; commits stay as they are, in tail/", wrong)
            said = str(wrong)
