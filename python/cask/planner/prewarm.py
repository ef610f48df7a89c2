"""Imports ahead of need: what the graphs of collections name, while the client still builds its first.

An import cannot be interrupted, and modules that import each other in circles must not be imported by
two threads at once. So it goes module by module, and a graph waits for the one that is under way,
which most graphs need anyway.
"""

from __future__ import annotations

import gc
import importlib
import logging
import threading

import dask

logger = logging.getLogger("distributed.scheduler")

# dask.array and dask.dataframe import NumPy and pandas; as modules of their own they are shorter waits.
MODULES = ("distributed", "numpy", "pandas", "dask.array", "dask.bag", "dask.dataframe")


def wanted_modules() -> list[str]:
    """The setting cask.planner.prewarm: a list of modules, or true for those above."""
    setting = dask.config.get("cask.planner.prewarm", True)
    if setting is None or setting is True:
        return list(MODULES)
    return [setting] if isinstance(setting, str) else list(setting)


class Prewarm:
    """Runs on the main thread until something is asked for."""

    def __init__(self):
        self._importing = threading.Lock()
        self._is_over = False

    def run(self) -> None:
        """Import the modules, one after the other, unless `end` has been called."""
        for name in wanted_modules():
            with self._importing:
                if self._is_over:
                    return
                try:
                    importlib.import_module(name)
                except Exception:  # not installed, or broken: the graph that needs it says so
                    logger.debug("Importing %s ahead of need failed", name, exc_info=True)
                gc.freeze()  # it stays: no need to look at it again

    def end(self) -> None:
        """Let no further import begin. Any thread."""
        self._is_over = True

    def wait(self) -> None:
        """As `end`, and return when the import under way is done. Any thread."""
        self.end()
        with self._importing:
            pass
