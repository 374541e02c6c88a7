"""OpenMP's threads sleep while they wait, unless the user wants otherwise."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from benchmarks.wait_policy import measure

pytestmark = pytest.mark.slow

PROBE = """
import os, sys
import pyadmm
assert "torch" not in sys.modules
print(os.environ["OMP_WAIT_POLICY"])
import pyadmm.compression
"""


@pytest.mark.parametrize(("said", "policy"), [(None, "passive"), ("active", "active")])
def test_the_policy_is_set_before_torch_loads(said: str | None, policy: str) -> None:
    environment = {k: v for k, v in os.environ.items() if k != "OMP_WAIT_POLICY"}
    if said is not None:
        environment["OMP_WAIT_POLICY"] = said
    done = subprocess.run(
        [sys.executable, "-c", PROBE], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == policy


def test_openmp_takes_it() -> None:
    """libgomp prints what it read, when it is loaded by torch."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("OMP_")}
    environment["OMP_DISPLAY_ENV"] = "true"
    code = "import pyadmm.compression"
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    if "OPENMP DISPLAY ENVIRONMENT BEGIN" not in done.stderr:
        pytest.skip("this torch has an OpenMP that does not show its settings")
    assert "OMP_WAIT_POLICY = 'PASSIVE'" in done.stderr


def test_the_benchmark_measures_a_step() -> None:
    found = measure(2)
    assert found["wall_ms"] > 0
    assert found["processor_ms"] > 0
    assert found["threads"] >= 1
