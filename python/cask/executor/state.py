"""``worker.state`` as user code sees it: what the worker's process knows of its tasks, at the moment it is looked at.

Stock's state machine is an object of the process that runs tasks; here it is in the C process, and this asks it. Each look at
an attribute is a question of its own (some 100 µs, and more the more tasks there are), so what is to be seen
together is best taken from one `tasks`. All of it is for reading.
"""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Mapping
from operator import attrgetter

from distributed.collections import HeapSet
from distributed.worker_state_machine import TaskState, WorkerState

_RUNNING = ("executing", "long-running")
_KEPT = (  # of stock's object: what is not the tasks' state, but settings and what this process has itself
    "actors", "address", "data", "nthreads", "plugins", "rng", "threads", "total_resources", "transfer_incoming_bytes_limit",
    "transfer_incoming_bytes_throttle_threshold", "transfer_incoming_count_limit", "transfer_message_bytes_limit",
    "transition_counter_max", "validate",
)  # fmt: skip


class Task(TaskState):
    """A task at one moment. Its neighbours are those of the same moment where it came with all others, else they are asked for."""

    def __init__(self, told: dict, tasks: Tasks):
        # Not stock's: it notes each instance, and would set what is looked up here.
        self._told = told
        self._tasks = tasks
        for name in ("key", "prefix", "state", "previous", "next", "run_id", "nbytes", "span_id", "coming_from", "annotations"):
            setattr(self, name, told[name])
        priority = told["priority"]
        self.priority = None if priority is None else tuple(priority)
        self.who_has = set(told["who_has"])

    def _neighbours(self, kind: str) -> set[Task]:
        found = (self._tasks.get(key) for key in self._told[kind])
        return {task for task in found if task is not None}

    @property
    def dependencies(self) -> set[Task]:
        return self._neighbours("dependencies")

    @property
    def dependents(self) -> set[Task]:
        return self._neighbours("dependents")

    @property
    def waiting_for_data(self) -> set[Task]:
        if self.state != "waiting":
            return set()
        return {task for task in self.dependencies if task.state != "memory"}

    @property
    def waiters(self) -> set[Task]:
        if self.state == "memory":
            return set()
        return {task for task in self.dependents if task.state == "waiting"}

    @property
    def type(self):
        """None where the value is not live in this process: it would have to be fetched."""
        value = self._tasks.data.find_live(self.key)
        return None if value is None else type(value[0])

    def _to_dict_no_nest(self, *, exclude=()) -> dict:
        return {name: value for name, value in self._told.items() if value and name not in exclude}

    def now_or_before(self, *states: str) -> bool:
        """It is in one of these states, or was when it was cancelled."""
        return self.state in states or (
            self.state in ("cancelled", "resumed") and self.previous in states
        )


def _untold(name: str):
    def get(_self):
        raise AttributeError(f"{name}: a cask worker keeps this in its own process, and does not tell it")

    return property(get)


for _name in (
    "done", "duration", "exception", "exception_text", "metadata", "resource_restrictions", "run_spec", "start_time", "startstops",
    "stop_time", "suspicious_count", "traceback", "traceback_text",
):  # fmt: skip
    setattr(Task, _name, _untold(f"TaskState.{_name}"))


class Tasks(Mapping):
    """``state.tasks``: one is asked for by its key; all at once when they are counted or gone through."""

    def __init__(self, data):
        self.data = data  # DataView, which asks
        self._all: dict | None = None

    def _look(self) -> dict:
        if self._all is None:
            self._all = {told["key"]: Task(told, self) for told in self.data.look("tasks", [])}
        return self._all

    def __getitem__(self, key):
        if self._all is not None:
            return self._all[key]
        for told in self.data.look("tasks", [key]):
            return Task(told, self)
        raise KeyError(key)

    def __iter__(self):
        return iter(self._look())

    def __len__(self):
        return len(self._look())

    def __repr__(self):
        return f"<tasks of a cask worker: {self._look()!r}>"


class TaskCounts:
    """``state.task_counter``: its counts; times stand in the worker's metrics."""

    def __init__(self, state: State):
        self._state = state

    def current_count(self, by_prefix: bool = True) -> Counter:
        if not by_prefix:
            counts = self._state.look()["states"]
            return Counter({name: count for name, count in counts.items() if count})
        return Counter((task.prefix, task.state) for task in self._state.tasks.values())


class State(WorkerState):
    """Stock's attributes, answered by the worker's process."""

    def __init__(self, stock: WorkerState):
        for name in _KEPT:
            if hasattr(stock, name):
                setattr(self, name, getattr(stock, name))

    def look(self) -> dict:
        """Counts and the like, at this moment."""
        return self.data.look("state", [])

    @property
    def tasks(self) -> Tasks:
        return Tasks(self.data)

    def _in(self, *states: str) -> set[Task]:
        return {task for task in self.tasks.values() if task.now_or_before(*states)}

    def _heap(self, state: str) -> HeapSet:
        heap = HeapSet(key=attrgetter("priority"))
        for task in self.tasks.values():
            if task.state == state:
                heap.add(task)
        return heap

    @property
    def ready(self) -> HeapSet:
        return self._heap("ready")

    @property
    def constrained(self) -> HeapSet:
        return self._heap("constrained")

    @property
    def waiting(self) -> set[Task]:
        return {task for task in self.tasks.values() if task.state == "waiting"}

    @property
    def missing_dep_flight(self) -> set[Task]:
        return {task for task in self.tasks.values() if task.state == "missing"}

    @property
    def executing(self) -> set[Task]:
        return self._in("executing")

    @property
    def long_running(self) -> set[Task]:
        return self._in("long-running")

    @property
    def all_running_tasks(self) -> set[Task]:
        return self._in(*_RUNNING)

    @property
    def in_flight_tasks(self) -> set[Task]:
        return self._in("flight")

    @property
    def in_flight_workers(self) -> dict[str, set]:
        workers = defaultdict(set)
        for task in self.in_flight_tasks:
            workers[task.coming_from].add(task.key)
        return dict(workers)

    @property
    def has_what(self) -> defaultdict[str, set]:
        holders = defaultdict(set)
        for task in self.tasks.values():
            for address in task.who_has:
                holders[address].add(task.key)
        return holders

    @property
    def data_needed(self) -> defaultdict[str, HeapSet]:
        needed = defaultdict(lambda: HeapSet(key=attrgetter("priority")))
        for task in self.tasks.values():
            for address in task.who_has if task.state == "fetch" else ():
                needed[address].add(task)
        return needed

    @property
    def fetch_count(self) -> int:
        return self.look()["states"]["fetch"]

    @property
    def busy_workers(self) -> set[str]:
        return set(self.look()["busy_workers"])

    @property
    def task_counter(self) -> TaskCounts:
        return TaskCounts(self)

    @property
    def log(self) -> deque[tuple]:
        return deque(tuple(entry) for entry in self.data.look("log", []))

    def handle_stimulus(self, *stims):
        raise NotImplementedError("the state of a cask worker is not in this process: it can be read only")


def _counted(name: str):
    return property(lambda self: self.look()[name])


for _name in (
    "available_resources", "executed_count", "executing_count", "in_flight_tasks_count", "nbytes", "running",
    "transfer_incoming_bytes", "transfer_incoming_count", "transfer_incoming_count_total", "transition_counter",
):  # fmt: skip
    setattr(State, _name, _counted(_name))
for _name in ("generation", "stimulus_log"):
    setattr(State, _name, _untold(f"WorkerState.{_name}"))
