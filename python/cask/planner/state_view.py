"""A scheduler's state for reading, with the names that distributed.scheduler.Scheduler gives to it."""

from __future__ import annotations

from collections import deque
from typing import NamedTuple

import distributed.scheduler as stock
from distributed.core import Status

from cask.planner.snapshot import (
    ClientView,
    GroupView,
    PrefixView,
    Snapshot,
    TaskView,
    Views,
    WorkerView,
)


class ComputationView(NamedTuple):
    """As distributed.scheduler.Computation."""

    id: str
    start: float
    stop: float
    code: tuple
    groups: set
    annotations: dict
    states: dict


class StateView:
    """What a scheduler knows. `queries` asks it, `snapshot` keeps what it has answered."""

    def __init__(self, queries, snapshot: Snapshot):
        self._queries = queries
        self.snapshot = snapshot
        self.tasks = Views(snapshot, TaskView)
        self.workers = Views(snapshot, WorkerView)
        self.clients = Views(snapshot, ClientView)
        self.task_groups = Views(snapshot, GroupView)
        self.task_prefixes = Views(snapshot, PrefixView)

    @property
    def status(self) -> Status:
        return Status.lookup[self._whole("status")]

    @property
    def memory(self):
        return stock.MemoryState.sum(*(ws.memory for ws in self.workers.values()))

    @property
    def task_metadata(self):
        return self._whole("task_metadata")

    @property
    def bandwidth_workers(self) -> dict[tuple[str, str], float]:
        """Bytes a second between workers, as of their last heartbeats."""
        return {
            (address, other): total / count
            for address, measured in self._bandwidths("workers")
            for other, (total, count) in measured.items()
            if count
        }

    @property
    def bandwidth_types(self) -> dict[str, float]:
        """Bytes a second by type of the data, as of the last heartbeats."""
        return {
            typename: total / count
            for _, measured in self._bandwidths("types")
            for typename, (total, count) in measured.items()
            if count
        }

    def _bandwidths(self, by: str) -> list[tuple[str, dict]]:
        rows = self.snapshot.rows("workers")
        return [(a, row["metrics"].get("bandwidth", {}).get(by, {})) for a, row in rows.items()]

    @property
    def computations(self) -> deque:
        found = deque()
        for row in self.snapshot.whole("computations"):
            groups = {GroupView.of_row(self.snapshot, group) for group in row["groups"]}
            code = tuple(
                tuple(stock.SourceCode(*frame) for frame in frames) for frames in row["code"]
            )
            found.append(ComputationView(**{**row, "code": code, "groups": groups}))
        return found

    @property
    def transition_log(self) -> deque:
        return deque(stock.Transition(*row) for row in self.snapshot.whole("transition_log"))

    def _whole(self, field: str):
        return self.snapshot.whole("scheduler")[field]

    def _tasks_of(self, field: str) -> set:
        return {TaskView(self.snapshot, key) for key in self.snapshot.whole("task_sets")[field]}

    def _workers_of(self, field: str) -> set:
        return {WorkerView(self.snapshot, address) for address in self._whole(field)}

    @property
    def idle(self) -> dict:
        return {a: WorkerView(self.snapshot, a) for a in self._whole("idle")}

    @property
    def running(self) -> set:
        return self._workers_of("running")

    @property
    def saturated(self) -> set:
        return self._workers_of("saturated")

    @property
    def idle_task_count(self) -> set:
        return self._workers_of("idle_task_count")

    @property
    def queued(self) -> set:
        return self._tasks_of("queued")

    @property
    def unrunnable(self) -> set:
        return self._tasks_of("unrunnable")

    @property
    def replicated_tasks(self) -> set:
        return self._tasks_of("replicated_tasks")

    def __getattr__(self, name: str):
        if name.startswith("_"):
            raise AttributeError(name)
        whole = self.snapshot.whole("scheduler")
        if name in whole:
            return whole[name]
        raise AttributeError(
            f"the view of cask's scheduler has no attribute {name!r}; see docs/compatibility.md"
        )

    def story(self, *keys_or_stimuli) -> list:
        names = [getattr(name, "key", name) for name in keys_or_stimuli]
        rows = self._queries.ask("get_story", keys_or_stimuli=names)
        return [stock.Transition(*row) for row in rows]

    def coerce_address(self, addr, resolve: bool = True) -> str:
        aliases = self._whole("aliases")
        if addr in aliases:
            return aliases[addr]
        if isinstance(addr, tuple):
            addr = stock.unparse_host_port(*addr)
        if not isinstance(addr, str):
            raise TypeError(f"addresses should be strings or tuples, got {addr!r}")
        return stock.resolve_address(addr) if resolve else stock.normalize_address(addr)

    def __repr__(self):
        return (
            f"<Scheduler {self.address!r}, workers: {len(self.workers)}, "
            f"cores: {self.total_nthreads}, tasks: {len(self.tasks)}>"
        )
