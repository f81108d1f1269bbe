"""One role of a feed as a process of its own, without Ray: `python -m tests.faults.role ROLE PLAN COMMIT_S`.

PLAN is pickled, as for Ray; a server commits its offsets every COMMIT_S seconds. Owns nothing: it steps until it is
killed.
"""

import pickle
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import torch

from deploy.pipeline import load
from deploy.processes.roles import Plan, build
from deploy.serving import share


def start(role: str, plan: Plan, log: Path, commit_s: float) -> "subprocess.Popen[bytes]":
    """Start a role."""
    text = pickle.dumps(plan).hex()
    command = [sys.executable, "-m", "tests.faults.role", role, text, str(commit_s)]
    with log.open("ab") as err:
        return subprocess.Popen(command, stderr=err)


def main() -> None:
    """Run a role until killed."""
    torch.set_num_threads(1)
    share.COMMIT_EVERY_S = float(sys.argv[3])
    plan: Plan = pickle.loads(bytes.fromhex(sys.argv[2]))
    with ExitStack() as stack:
        role = build(sys.argv[1], plan, load(plan.pipeline), stack)
        while True:
            role.step(20)


if __name__ == "__main__":
    main()
