"""One run of a feed at a time: refused while another has it, taken over by request, and free where it died."""

import os
import subprocess
import sys
import threading
from pathlib import Path

import msgspec
import pytest

from deploy.config import Settings
from deploy.registry import runs
from deploy.registry.runs import Run
from deploy.registry.storage import Disk
from deploy.run import claim as claims
from deploy.run.claim import Claim, claimed
from streams.errors import ConfigError, InUse
from streams.join.store import Store
from streams.kafka.broker import Broker
from streams.redis import Address
from tests.cases.join import until

LASTING = msgspec.structs.replace(Settings(), kafka=Broker(bootstrap="127.0.0.1:1"))
ELSEWHERE = Run("another-machine", 1, "/srv", "token", 1_700_000_000_000)
HOLD = """
import sys
from pathlib import Path
from deploy.run.claim import claimed
from tests.integration.run.test_claim import LASTING
with claimed("ads", Path(sys.argv[1]), LASTING, print):
    print("claimed", flush=True)
    sys.stdin.read()
"""


def held_elsewhere(folder: Path) -> "subprocess.Popen[bytes]":
    """Claim a folder by another process, which holds it until it is killed."""
    process = subprocess.Popen([sys.executable, "-c", HOLD, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdout
    assert process.stdout.readline() == b"claimed\n"
    return process


def at(store: str) -> Settings:
    return msgspec.structs.replace(LASTING, redis=Address(url=store))


def test_a_folder_in_use_is_refused_by_name_and_free_when_its_process_has_died(tmp_path: Path) -> None:
    process = held_elsewhere(tmp_path)
    said = rf"'ads' is run by process {process.pid} on .* in .*, since 20\d\d-.* UTC\. .*--take-over"
    with pytest.raises(InUse, match=said), claimed("ads", tmp_path, LASTING, print):
        pass
    with (
        pytest.raises(ConfigError, match="--take-over needs a broker"),
        claimed("ads", tmp_path, Settings(), print, take_over=True),
    ):
        pass
    process.kill()
    process.communicate()
    with claimed("ads", tmp_path, LASTING, print):
        assert runs.newest(Disk(tmp_path)) == 1
    with claimed("ads", tmp_path, LASTING, print):
        assert runs.newest(Disk(tmp_path)) == 2


def lost(claim: Claim) -> str:
    """Wait until a claim is lost; return what it says."""
    said: list[str] = []

    def gone() -> bool:
        try:
            claim.check()
        except InUse as wrong:
            said.append(str(wrong))
        return bool(said)

    until(gone)
    return said[0]


def test_a_higher_number_ends_a_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(claims, "BEAT_S", 0.01)
    monkeypatch.setattr(claims, "LIST_S", 0.0)
    said: list[str] = []
    with claimed("ads", tmp_path, LASTING, print) as first:
        first.check()
        second = threading.Event()

        def take() -> None:
            with claimed("ads", tmp_path, LASTING, said.append, take_over=True):
                second.set()

        thread = threading.Thread(target=take)
        thread.start()
        assert f"taken over by process {os.getpid()}" in lost(first)
        assert not second.is_set(), "it waits for the first one's end"
    thread.join(claims.YIELD_S)
    assert second.is_set()
    assert said[0].startswith("taking over from process")


def test_a_run_from_another_folder_is_refused_by_the_store(
    tmp_path: Path, embedded_store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "BEAT_S", 0.01)
    settings, (one, two) = at(embedded_store_url), (tmp_path / "1", tmp_path / "2")
    said: list[str] = []
    with claimed("twice", one, settings, print) as first, first.held(settings, print):
        with claimed("twice", two, settings, print) as second:
            with pytest.raises(InUse, match="'twice' is run by process"), second.held(settings, said.append):
                pass
            assert "waiting to see whether" in said[0]
        with claimed("twice", two, settings, print, take_over=True) as second, second.held(settings, print):
            assert "taken over by" in lost(first)
            second.check()


def test_a_run_that_died_elsewhere_is_waited_for_and_one_that_died_here_is_not(
    tmp_path: Path, embedded_store: Store, embedded_store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings, said = at(embedded_store_url), list[str]()
    with claimed("died", tmp_path, settings, print):
        last = runs.read(Disk(tmp_path), 0)
    assert last is not None
    embedded_store.claim("died", last.token, runs.encode(last), 60_000)
    with claimed("died", tmp_path, settings, print) as claim, claim.held(settings, said.append):
        assert not said
    embedded_store.claim("died", ELSEWHERE.token, runs.encode(ELSEWHERE), 60_000)
    monkeypatch.setattr(claims, "COUNTS_S", 0.5)
    with claimed("died", tmp_path, settings, print) as claim, claim.held(settings, said.append):
        assert said == [
            "waiting to see whether process 1 on another-machine in /srv, since 2023-11-14 22:13:20 UTC is alive"
        ]


def test_the_note_of_an_earlier_run_which_a_store_that_went_back_brings_again_ends_nothing(
    tmp_path: Path, embedded_store: Store, embedded_store_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(claims, "BEAT_S", 0.01)
    settings = at(embedded_store_url)
    with claimed("back", tmp_path, settings, print):
        first = runs.read(Disk(tmp_path), 0)
    assert first is not None
    with claimed("back", tmp_path, settings, print) as claim, claim.held(settings, print):
        embedded_store.claim("back", first.token, runs.encode(first), 60_000, take=True)
        own = runs.read(Disk(tmp_path), 1)
        assert own is not None
        until(lambda: embedded_store.claim("back", own.token, runs.encode(own), 60_000) is None)
        claim.check()
        embedded_store.claim("back", ELSEWHERE.token, runs.encode(ELSEWHERE), 60_000, take=True)
        assert "another-machine" in lost(claim)
