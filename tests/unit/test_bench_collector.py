"""``python -m bench`` finds the benchmarks and keeps its promises about figures."""

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from bench.result import result  # noqa: E402  # the folder is no installed package


def test_an_unknown_benchmark_is_named_beside_the_known_ones() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bench", "nope"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "unknown benchmark nope" in done.stderr
    assert "router" in done.stderr


def test_ratio_and_spread_are_taken_over_the_repetitions() -> None:
    measured = result("x", "events/s", [90.0, 100.0, 120.0], [200.0, 100.0, 200.0], "python -m bench x")
    assert (measured.value, measured.floor, measured.n) == (100.0, 200.0, 3)
    assert measured.ratio == pytest.approx(0.6)
    assert measured.spread == pytest.approx(0.3)
