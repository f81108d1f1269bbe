"""What becomes of a role that has ended, by its error: begun again, over, held, or the end of the run."""

from pathlib import Path

import pytest

from deploy.config import Settings
from deploy.processes import node
from deploy.processes.actors import System
from deploy.processes.health import Process
from deploy.processes.loop import Health
from deploy.processes.member import Member
from deploy.processes.restarts import HELD_AFTER
from deploy.processes.roles import Plan
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


def test_of_roles_that_die_together_the_server_begins_first_and_the_others_once_it_answers(
    noted: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    plan = Plan(pipeline=tmp_path / "pipeline.py", settings=Settings(), registry=tmp_path, fetch_wait_ms=1)
    system = System(plan, node.Node(None, tmp_path))
    system.run(1)
    system._members["server"].looked_after.answered(Process("here", 1), Health())
    monkeypatch.setattr("ray.wait", lambda calls, **_: ([], calls))
    noted.clear()

    def made() -> list[str]:
        system.check(serves_on=True)
        return [one for one in noted if one.startswith("made")]

    others = [one.role for one in system.roles if one.role != "server"]
    for role in others:
        system._ended(system._members[role], RoleDied("its process has died"), serves_on=True)
    assert made() == []  # the server's end is heard a look later
    system._ended(system._members["server"], RoleDied("its process has died"), serves_on=True)
    assert made() == ["made server"]
    assert made() == ["made server"]
    system._members["server"].looked_after.answered(Process("here", 2), Health())
    assert made() == ["made server", *(f"made {role}" for role in others)]
    system._ended(system._members["learner"], RoleDied("its process has died"), serves_on=True)
    assert [made().count("made learner"), made().count("made learner")] == [1, 1]  # one that has lived no minute pauses
