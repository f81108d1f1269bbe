"""What becomes of a role that has ended, by its error: begun again, over, held, or the end of the run."""

from pathlib import Path

import pytest

from deploy.config import Settings
from deploy.processes.actors.member import Heard, Member
from deploy.processes.actors.system import System
from deploy.processes.health import Process
from deploy.processes.loop import Health
from deploy.processes.nodes import node
from deploy.processes.restarts import HELD_AFTER
from deploy.processes.roles import Plan
from deploy.serving.share import NOTHING, Order
from streams.errors import (
    BrokerRefused,
    Disagreement,
    HistoryChanged,
    RegistryError,
    RoleDied,
    ShadowstreamError,
    StoreRefused,
    Unbalanced,
)

A_PERSON_S = [HistoryChanged, StoreRefused, BrokerRefused, Unbalanced, Disagreement]


@pytest.fixture
def system(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> System:
    monkeypatch.setattr(Member, "make", lambda *_: None)
    plan = Plan(pipeline=tmp_path / "pipeline.py", settings=Settings(), registry=tmp_path, fetch_wait_ms=1)
    return System(plan, node.Node(None, tmp_path))


def end(system: System, role: str, wrong: ShadowstreamError, *, serves_on: bool = True) -> str:
    """Let a role end; return what is said of it."""
    member = system._members[role]
    system._ended(member, wrong, serves_on=serves_on)
    assert member.run is None
    member.restarts.begun()
    return "\n".join(system.lines)


@pytest.mark.parametrize("error", A_PERSON_S)
def test_a_contradiction_is_the_end_of_its_role_alone_unless_it_is_the_server_s(
    error: type[ShadowstreamError], system: System
) -> None:
    assert end(system, "learner", error("look")) == "learner has ended: look"
    system._members["server"].looked_after.begun_again()
    with pytest.raises(error):
        end(system, "server", error("look"))


def test_another_error_has_its_role_begun_again_but_a_server_s_first(system: System) -> None:
    assert end(system, "distiller", RegistryError("a blob is damaged")) == ""
    with pytest.raises(RegistryError):
        end(system, "server", RegistryError("a blob is damaged"))
    system._members["server"].looked_after.begun_again()
    assert end(system, "server", RegistryError("a blob is damaged")) == "server (started again 1×)"


@pytest.mark.parametrize("role", ["learner", "server"])
def test_a_role_that_ends_at_once_each_time_is_held_and_named_with_its_error(role: str, system: System) -> None:
    for _ in range(HELD_AFTER):
        said = end(system, role, RoleDied("its process has died"))
    assert said == f"{role} is held, tried every 60 s: its process has died"


def test_where_nothing_serves_on_an_error_ends_the_run_and_a_process_that_died_only_when_it_is_held(
    system: System,
) -> None:
    with pytest.raises(RegistryError):
        end(system, "learner", RegistryError("a blob is damaged"), serves_on=False)
    for _ in range(HELD_AFTER - 1):
        end(system, "learner", RoleDied("its process has died"), serves_on=False)
    with pytest.raises(RoleDied):
        end(system, "learner", RoleDied("its process has died"), serves_on=False)


class Said:
    """Stands for an actor: what it is asked to do is noted, and done at once."""

    def __init__(self, role: str, noted: list[str]) -> None:
        self._role, self._noted = role, noted
        noted.append(f"made {role}")

    def __getattr__(self, name: str) -> "Said":
        self._noted.append(f"{name} {self._role}")
        return self

    def remote(self, *_: object) -> "Said":
        return self


@pytest.fixture
def noted(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    found: list[str] = []

    def make(member: Member) -> None:
        member.actor = Said(member.role, found)

    monkeypatch.setattr(Member, "make", make)
    monkeypatch.setattr("ray.wait", lambda calls, **_: (calls, []))
    monkeypatch.setattr("ray.get", lambda _: None)
    return found


@pytest.mark.parametrize("serves", [True, False])
def test_where_a_version_is_there_the_server_answers_before_other_processes_begin(
    serves: bool, noted: list[str], tmp_path: Path
) -> None:
    plan = Plan(pipeline=tmp_path / "pipeline.py", settings=Settings(), registry=tmp_path, fetch_wait_ms=1)
    system = System(plan, node.Node(None, tmp_path), serves=serves)
    assert noted == ["made server"] or not serves
    system.run(1)
    assert noted.index("run server") < min(
        noted.index(f"run {one.role}") for one in system.roles if one.role != "server"
    )
    assert (noted.index("run server") < noted.index("made learner")) is serves
    assert sorted(one for one in noted if one.startswith("run")) == sorted(f"run {one.role}" for one in system.roles)


class Dying:
    """A system of which roles die, and how its server answers."""

    def __init__(self, system: System, noted: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
        self._system, self._noted = system, noted
        self.server = system._members["server"].looked_after
        self.reads = True
        system.run(1)
        monkeypatch.setattr("ray.wait", lambda calls, **_: ([], calls))
        monkeypatch.setattr(Member, "look", lambda *_: Heard(Order(0, frozenset({0})) if self.reads else NOTHING, 0))
        self.answered()
        noted.clear()

    def answered(self, waits_for: str = "") -> None:
        self.server.answered(Process("here", 1), Health(waits_for=waits_for))

    def die(self, *roles: str) -> None:
        for role in roles:
            self._system._ended(self._system._members[role], RoleDied("its process has died"), serves_on=True)

    def made(self) -> list[str]:
        """Take a look; return whose process was started since the last one."""
        self._noted.clear()
        self._system.check(serves_on=True)
        return [one.removeprefix("made ") for one in self._noted if one.startswith("made")]


@pytest.fixture
def dying(noted: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Dying:
    plan = Plan(pipeline=tmp_path / "pipeline.py", settings=Settings(), registry=tmp_path, fetch_wait_ms=1)
    dying = Dying(System(plan, node.Node(None, tmp_path)), noted, monkeypatch)
    assert dying.made() == []
    return dying


OTHERS = ["joiner-0", "learner", "distiller", "evaluator", "conductor"]


@pytest.mark.parametrize("waits_for", ["", "the broker"])
def test_of_roles_that_die_together_the_server_begins_first_and_the_others_once_it_reads_or_waits(
    waits_for: str, dying: Dying
) -> None:
    dying.die(*OTHERS)
    assert dying.made() == []  # the server's end is heard a look later
    dying.reads = False
    dying.die("server")
    assert dying.made() == ["server"]
    dying.answered()  # its process is there, and imports
    assert dying.made() == []
    dying.answered(waits_for)
    dying.reads = not waits_for
    assert dying.made() == ([] if dying.reads else OTHERS)
    assert dying.made() == (OTHERS if dying.reads else [])


def test_a_role_that_dies_beside_a_server_that_reads_begins_at_the_next_look(dying: Dying) -> None:
    dying.die("learner")
    assert [dying.made(), dying.made()] == [[], ["learner"]]


def test_how_long_a_role_is_absent_counts_from_when_its_process_was_started() -> None:
    member = Member("learner", lambda: None)
    member.looked_after._began_s -= 1_000  # a run that takes over waits for the other one's end
    member.make()
    assert member.looked_after.absent_s < 1_000
