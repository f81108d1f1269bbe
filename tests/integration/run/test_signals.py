"""Ctrl-C, SIGTERM and SIGHUP: the way out is taken, within a time, and a second signal cuts it short."""

import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

HANG_S = 300.0
PROGRAM = """
import subprocess, sys, time
from deploy.cli.signals import orderly

def sleep():
    print("ready", flush=True)
    time.sleep(1_000)

def closing():
    try:
        sleep()
    finally:
        print("closed", flush=True)

def stuck():
    child = subprocess.Popen(["sleep", "1000"], start_new_session=True)
    print(child.pid, flush=True)
    while True:
        try:
            sleep()
        except KeyboardInterrupt:
            print("caught", flush=True)

def failing():
    try:
        sleep()
    finally:
        raise RuntimeError("a client was interrupted")

sys.exit(orderly({kind}, {ends_s}))
"""
NUMBERS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


def start(kind: str, ends_s: float = HANG_S, *, before: str = "") -> "subprocess.Popen[str]":
    """Start the program and wait until it sleeps."""
    text = before + PROGRAM.replace("{kind}", kind).replace("{ends_s}", str(ends_s))
    return subprocess.Popen([sys.executable, "-c", text], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def line(process: "subprocess.Popen[str]") -> str:
    assert process.stdout
    return process.stdout.readline().strip()


@pytest.mark.parametrize("number", NUMBERS)
def test_everything_is_closed_on_the_way_out(number: signal.Signals) -> None:
    process = start("closing")
    assert line(process) == "ready"
    process.send_signal(number)
    assert process.communicate(timeout=HANG_S) == ("closed\n", "")
    assert process.returncode == 128 + number


def test_an_error_on_the_way_out_says_nothing() -> None:
    process = start("failing")
    line(process)
    process.terminate()
    assert process.communicate(timeout=HANG_S) == ("", "")
    assert process.returncode == 128 + signal.SIGTERM


def test_what_does_not_end_in_time_is_left_and_what_it_started_is_killed() -> None:
    process = start("stuck", 0.2)
    child = psutil.Process(int(line(process)))
    line(process)
    process.terminate()
    assert process.wait(HANG_S) == 128 + signal.SIGTERM
    psutil.wait_procs([child], timeout=HANG_S)
    assert not child.is_running() or child.status() == psutil.STATUS_ZOMBIE


@pytest.mark.parametrize("second", NUMBERS)
def test_a_second_signal_ends_it_at_once(second: signal.Signals) -> None:
    process = start("stuck")
    line(process)
    line(process)
    process.send_signal(signal.SIGINT)
    assert line(process) == "caught"
    process.send_signal(second)
    assert process.wait(HANG_S) == 130


def test_what_the_parent_has_us_ignore_stays_ignored() -> None:
    process = start("closing", before="import signal\nsignal.signal(signal.SIGHUP, signal.SIG_IGN)\n")
    line(process)
    process.send_signal(signal.SIGHUP)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=HANG_S)
    assert process.returncode == 128 + signal.SIGTERM


def test_a_program_that_ends_by_itself_keeps_its_exit_code(tmp_path: Path) -> None:
    text = "import sys\nfrom deploy.cli.signals import orderly\nsys.exit(orderly(lambda: 7))"
    assert subprocess.run([sys.executable, "-c", text], check=False, timeout=HANG_S, cwd=tmp_path).returncode == 7
