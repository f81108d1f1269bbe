"""When the actors of a run begin: with the run, or ahead of it, while the run that it takes over from still serves.

Owns that they end once. Does not know how a feed is claimed.
"""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import TYPE_CHECKING

from deploy.config import Settings
from deploy.processes.roles import Plan
from deploy.run.nodes import with_ray

if TYPE_CHECKING:
    from deploy.processes.actors.system import System
    from deploy.processes.nodes.node import Node

    Start = Callable[..., AbstractContextManager[System]]


def may_be(settings: Settings) -> bool:
    """Return whether all is known that the actors need: addresses of services that outlive runs, and a Ray of ours."""
    return settings.kafka.bootstrap is not None and not settings.redis.embedded and settings.ray.cluster is None


@contextmanager
def ahead(plan: Plan | None) -> "Iterator[Start]":
    """Yield what starts the actors; those of a `plan` begin now, under a Ray of our own, and wait to be asked for."""
    with ExitStack() as stack:
        system = stack.enter_context(started(plan, None, serves=True)) if plan else None
        if system:
            system.ready()

        @contextmanager
        def start(plan: Plan, cluster: "Node | None", *, serves: bool) -> "Iterator[System]":
            if system:
                with stack.pop_all():
                    yield system
            else:
                with started(plan, cluster, serves=serves) as begun:
                    yield begun

        yield start


def started(plan: Plan, cluster: "Node | None", *, serves: bool) -> "AbstractContextManager[System]":
    """Start the actors, on a cluster that was joined or under a Ray of our own; where a version `serves`, it first."""
    system: AbstractContextManager[System] = with_ray("actors.system", plan.settings).started(
        plan, cluster, serves=serves
    )
    return system
