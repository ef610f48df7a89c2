"""Cycles of objects are collected when tasks have paused, or a value could not be serialised.

Python collects as it allocates, and an executor without tasks does not: futures that a task left in a cycle would
keep their keys alive for as long as it is idle. A stock worker's loop allocates all the time.
"""

from __future__ import annotations

import gc
import threading

_PAUSE = 0.2  # seconds without a task


class Sweeper(threading.Thread):
    """Sleeps until it is told (runner.worked), as by each task that runs; collects once none does any more."""

    def __init__(self, runner):
        super().__init__(name="sweeper", daemon=True)
        self._runner = runner

    def run(self) -> None:
        pause = threading.Event()
        while True:
            self._runner.worked.wait()
            pause.wait(_PAUSE)
            if self._runner.is_idle():
                self._runner.worked.clear()
                if self._runner.is_idle():
                    gc.collect()
                else:
                    self._runner.worked.set()
