"""Which faults of the whole loop there are, how often each comes, and how long nothing may be answered by it."""

from collections.abc import Callable

from tests.faults.loop.loop_world import LoopWorld
from tests.faults.loop.of_processes import (
    all_killed,
    driver_killed,
    driver_stopped,
    gcs_killed,
    gcs_stopped,
    raylet_killed,
    raylet_stopped,
    role_frozen,
    role_killed,
    role_stopped,
    server_killed,
    server_stopped,
    taken_over,
    two_killed,
)  # fmt: skip
from tests.faults.loop.of_services import (
    broker_disconnected,
    broker_killed,
    broker_stopped,
    bucket_disconnected,
    bucket_killed,
    bucket_silent,
    disk_full,
    registry_refuses,
    store_disconnected,
    store_emptied,
    store_full,
    store_killed,
    store_stopped,
)  # fmt: skip
from tests.faults.parts.brokers import Lasting
from tests.faults.parts.registries import Bucket, Folder

Fault = Callable[[LoopWorld], None]
ALWAYS: tuple[Fault, ...] = (
    role_killed, server_killed, two_killed, all_killed, role_stopped, server_stopped, role_frozen, raylet_killed,
    raylet_stopped, gcs_killed, gcs_stopped, driver_killed, driver_stopped, taken_over,
    store_killed, store_stopped, store_disconnected, store_full, store_emptied,
)  # fmt: skip
OF_KAFKA: tuple[Fault, ...] = (broker_killed, broker_stopped, broker_disconnected)
OF_A_BUCKET: tuple[Fault, ...] = (bucket_silent, bucket_killed, bucket_disconnected)
SLOW = (role_frozen, driver_killed, store_emptied, bucket_silent)  # half a minute or more each
LONGEST_S: dict[Fault, float] = {raylet_killed: 30.0, gcs_killed: 30.0}
LONGEST_OTHERS_S = 10.0
UNBOUNDED = {driver_killed, store_emptied, *OF_KAFKA}  # nobody serves without a run, or without a broker


def possible(world: LoopWorld) -> list[Fault]:
    """Return the faults that this world can have."""
    found = [*ALWAYS]
    found += OF_KAFKA if isinstance(world.broker, Lasting) else ()
    found += OF_A_BUCKET if isinstance(world.place, Bucket) else ()
    found += [disk_full] if isinstance(world.place, Folder) else ()
    found += [registry_refuses] if world.place.can_refuse else ()
    return found


def weight(fault: Fault) -> int:
    """Return how often a fault comes, compared with others."""
    return 1 if fault in SLOW else 4
