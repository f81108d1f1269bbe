"""The four stores of the contract, each started once, when the first test asks for it."""

from collections.abc import Iterator
from contextlib import closing

import pytest

from streams.join.store import Store
from tests.contract.stores import CANNOT, Stage
from tests.services.redis import Cluster, Place, Server


@pytest.fixture(scope="module", params=CANNOT)
def place(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    """A server or a cluster, named in `stores.CANNOT`."""
    kind, _, several = request.param.partition(" ")
    made = (Cluster if several else Server)(kind, tmp_path_factory.mktemp("place"))
    yield made
    made.stop()


@pytest.fixture
def stage(place: Place) -> Iterator[Stage]:
    """A running store, its name, and a client."""
    place.ready()
    with closing(Store(place.address)) as store:
        yield Stage(place.kind + " cluster" * isinstance(place, Cluster), place, store)
