"""Policies of the active memory manager that are Python classes.

They run in stock's own extension, on the view. Its suggestions go to the core, which carries out
what is still possible when they arrive: it never drops a last replica, nor one that a task on that worker
waits for. Policies of the core (ReduceReplicas, retiring) run there; either side's decisions
show in the other's next run.

Source it must agree with: distributed/active_memory_manager.py ``ActiveMemoryManagerExtension``.
"""

from __future__ import annotations

import dask.config
from distributed.active_memory_manager import (
    ActiveMemoryManagerExtension,
    ActiveMemoryManagerPolicy,
)
from distributed.utils import import_term

OF_THE_CORE = "distributed.active_memory_manager.ReduceReplicas"


def configured() -> set[ActiveMemoryManagerPolicy]:
    """The policies of the configuration that the core does not have."""
    policies = set()
    for row in dask.config.get("distributed.scheduler.active-memory-manager.policies"):
        arguments = dict(row)
        name = arguments.pop("class")
        if name != OF_THE_CORE:
            policies.add(import_term(name)(**arguments))
    return policies


class Policies(ActiveMemoryManagerExtension):
    """Stock's memory manager with none but those policies; nothing runs before one is added."""

    def __init__(self, scheduler):
        super().__init__(scheduler, policies=set(), register=False, start=False)

    def run_once(self) -> None:
        if self.policies:
            super().run_once()
