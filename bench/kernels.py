"""What benchmarks' tasks do. A module of its own: workers import it, so no task carries code along."""

from __future__ import annotations

import time


def spin(seconds: float, *_inputs: object) -> None:
    """Compute for so long. The thread's own clock: what waits for a core does not compute."""
    end = time.thread_time() + seconds
    while time.thread_time() < end:
        pass


def join(*_results: object) -> None:
    """Wait for all of them."""
