"""The four steps of examples/compress as a user runs them, on a part of their data."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.long
ROOT = Path(__file__).parents[3]


def run(name: str, rows: int) -> dict[str, list[float]]:
    """Return the printed rows of numbers by their names."""
    command = [sys.executable, str(ROOT / "examples" / "compress" / name), "--rows", str(rows)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1_500, cwd=ROOT)
    assert done.returncode == 0, done.stderr
    lines = (re.match(r"(\S.*?\S) {2,}([-\d][-\d.,e+× ]*)$", line) for line in done.stdout.splitlines())
    return {m[1]: [float(part.rstrip("×").replace(",", "")) for part in m[2].split()] for m in lines if m}


def test_what_is_pruned_learns_again() -> None:
    table = run("prune_and_retrain.py", 450)
    before, float_accuracy, float_bytes = table["nothing (float)"]
    assert min(before, float_accuracy) > 85
    for name in ("the 50 % smallest weights", "the 80 % smallest weights", "half of the channels"):
        once, after, loss, size, smaller = table[name]
        assert after >= once - 1, name
        assert loss == pytest.approx(float_accuracy - after, abs=0.02)
        assert loss < 3, name  # 450 digits: one is 0.22 %
        assert smaller == pytest.approx(float_bytes / size, abs=0.06)
        assert size < 0.65 * float_bytes
    assert table["every weight below 0.05"][1] > 85


def test_what_is_quantized_answers_as_before() -> None:
    table = run("quantize_and_retrain.py", 450)
    float_accuracy, float_bytes = table["float"]
    for name in ("int8, ranges by row", "int8, trained through", "int4 linear, trained through", "bfloat16"):
        accuracy, _, size, _, parity = table[name]
        assert accuracy > float_accuracy - 3, name
        assert size < 0.55 * float_bytes, name
        assert parity < 0.01, name
    assert table["int2 linear, trained through"][0] > table["int2 linear"][0] - 1


def test_the_shadow_learns_what_the_frozen_one_misses() -> None:
    table = run("learn_online.py", 6_000)
    assert {"February", "December"} <= set(table)
    count, frozen, _, shadow, teacher = table["together"]
    assert count > 5_000
    assert max(shadow, teacher) < frozen < 1


def test_own_guesses_teach_nothing() -> None:
    table = run("learn_from_outcomes.py", 6_000)
    count, never, guesses, outcomes = table["together"]
    assert count > 5_000
    assert guesses > never
    assert guesses > outcomes
