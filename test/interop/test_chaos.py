"""A little of test/chaos/: Dask programs come to the right answers while executors, workers, connections and planners
die. Longer ones: `make chaos`."""

from __future__ import annotations

import subprocess
import sys

import pytest

import harness

CHAOS = harness.ROOT / "test" / "chaos" / "chaos.py"


@pytest.mark.skipif(harness.KIND == "stock", reason="it is about cask's workers")
@pytest.mark.timeout(1800)  # a program may have to be waited for
@pytest.mark.parametrize(
    "options",
    [("--seed", "101"), ("--seed", "102", "--links"), ("--seed", "103", "--small", "--only", "spilling", "--pause", "10")],
    ids=["processes", "links", "memory"],
)
def test_chaos(options):
    command = [sys.executable, str(CHAOS), "--minutes", "0.4", *options]
    done = subprocess.run(command, capture_output=True, text=True, env=harness.clean_environment())
    assert done.returncode == 0, harness.clip(done.stdout, 120) + harness.clip(done.stderr, 20)
