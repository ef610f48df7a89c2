"""The programs in examples/, run as a user would, against the scheduler under test."""

import os
import re
import subprocess
import sys

import pytest
from harness import KIND, ROOT

# Lines that the output must have, as regular expressions.
PRINTS = {
    "local_exceptions": [
        r"compute\(\): division by zero in recip line \d+, variables {.*}",
        r"recreated: division by zero in recip line \d+, variables {'x': 0}",
        r"sum: ZeroDivisionError\('division by zero'\)",
        r"bad inputs: \[0\]",
        r"recreated from the bag: division by zero in recip line \d+, variables {'x': 0}",
    ],
    "failed_partitions": [
        r"\['finished', 'finished', 'error', 'finished', 'error'\]",
        r"lost: the file of month 2 is damaged",
        r"rows: 30 sum of fares: 135",
    ],
    "dynamic_search": [r"score \d\.\d{6} at \(.*\)", r"found"],
    "data_and_storage": [
        r"one object, one worker: \[1\]",
        r"halves: True",
        r"my_val",
        r"\['0\.part', '1\.part', '2\.part'\]",
        r"rides over 250: 49",
    ],
    "coordination": [
        r"total: 1900",
        r"never more than two: True",
        r"seen by another client: 20",
    ],
    "capture_diagnostics": [
        r".*100% Completed.*",
        r"12 tasks, 0\.[67] s of work in 0\.\d s",
        r"events: \d+",
        r"story: \['waiting', 'processing', 'memory'.*\]",
        r"running: \['sleep'\]",
        r"profile has samples: True",
    ],
    "tasks_in_tasks": [
        r"fib\(8\) = 21",
        r"sum of squares = 285",
        r"as an executor: \[0, 2, 4, 6, 8\]",
    ],
    "actors": [r"slope 3\.0 after 76 steps"],
}


def test_every_example_is_here():
    assert set(PRINTS) == {path.stem for path in (ROOT / "examples").glob("*.py")}


@pytest.mark.parametrize("name", PRINTS)
def test_example(cluster, name, tmp_path):
    result = subprocess.run(
        [sys.executable, ROOT / "examples" / f"{name}.py"],
        env={**os.environ, "DASK_SCHEDULER_ADDRESS": cluster.address},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    expected = PRINTS[name]
    if name == "local_exceptions" and KIND == "stock":
        # recreate_error_locally fails in 2026.8.0 when the failed task has inputs
        assert "has no attribute '__dask_graph__'" in result.stderr
        expected = expected[:1]
    else:
        assert result.returncode == 0, result.stderr[-3000:]
    lines = re.split(r"[\r\n]+", result.stdout)
    for pattern in expected:
        assert any(re.fullmatch(pattern, line) for line in lines), (pattern, result.stdout)
