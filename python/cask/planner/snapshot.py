"""What user code sees of tasks, workers, clients and groups: read on demand, in batches.

Within one turn of the event loop nothing changes for user code, as on a stock scheduler, where it
runs inside the scheduler's own loop. So what was read is kept until the turn ends. A row names
other things (a task's dependencies); when one of them is looked at, all of them are read at once,
so that a walk over a graph costs one query a level.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from distributed.core import Status
from distributed.scheduler import MemoryState

from cask.planner.queries import Queries

# Rows asked for in one query.
BATCH_ROWS = 50_000


class Snapshot:
    """Rows of the scheduler's state by kind and name, valid for this turn of the loop."""

    def __init__(self, queries: Queries, call_soon: Callable):
        self._queries = queries
        self._call_soon = call_soon
        self._fresh = False
        self._rows: dict[str, dict[Any, dict]] = {}
        self._complete: set[str] = set()
        self._names: list | None = None  # of all tasks
        self._mentioned: dict[Any, None] = {}  # tasks named by rows, not read yet

    def forget(self) -> None:
        """State has changed, or may have: read anew."""
        self._fresh = False
        self._rows = {}
        self._complete = set()
        self._names = None
        self._mentioned = {}

    def _touch(self) -> None:
        if not self._fresh:
            self._fresh = True
            self._call_soon(self.forget)

    def _mention(self, row: dict) -> None:
        known = self._rows["tasks"]
        for field in TaskView.TASK_FIELDS:
            for key in row.get(field) or ():
                if key not in known:
                    self._mentioned[key] = None

    def _read(self, kind: str, names: list | None) -> None:
        self._touch()
        reply = self._queries.ask("planner_view", what=kind, names=names)
        fields = reply["fields"]
        rows = self._rows.setdefault(kind, {})
        read = []
        for values in reply["rows"]:
            row = dict(zip(fields, values))
            rows[values[0]] = row
            read.append(row)
        if names is None:
            self._complete.add(kind)
        elif kind == "tasks":
            for name in names:
                self._mentioned.pop(name, None)
            for row in read:
                self._mention(row)

    def row(self, kind: str, name) -> dict | None:
        """The row of `name`, or None if there is no such thing."""
        row = self._rows.get(kind, {}).get(name)
        if row is not None or kind in self._complete:
            return row
        if kind == "tasks":
            names = [name]
            for mentioned in self._mentioned:
                if len(names) >= BATCH_ROWS:
                    break
                if mentioned != name:
                    names.append(mentioned)
            self._read(kind, names)
        else:
            self._read(kind, None)
        return self._rows[kind].get(name)

    def rows(self, kind: str) -> dict[Any, dict]:
        """All rows of a kind, in the scheduler's order."""
        if kind not in self._complete:
            self._rows.pop(kind, None)
            self._read(kind, None)
        return self._rows[kind]

    def names(self, kind: str) -> list:
        """The names of all things of a kind; for tasks without reading the tasks."""
        if kind != "tasks" or kind in self._complete:
            return list(self.rows(kind))
        if self._names is None:
            self._touch()
            self._names = list(self._queries.ask("planner_view", what="task_keys", names=None))
        return self._names

    def whole(self, what: str) -> Any:
        """A reply that is not made of rows ("scheduler", ...), kept for the turn."""
        kept = self._rows.setdefault("", {})
        if what not in kept:
            self._touch()
            kept[what] = self._queries.ask("planner_view", what=what, names=None)
        return kept[what]

    def run_spec(self, key) -> Any:
        return self._queries.ask("get_runspec", key=key)


class View:
    """One thing of the scheduler, by name. Attributes are read from the snapshot.

    When the thing is gone, what was known last stays readable, as stock's own objects do.
    """

    KIND = ""
    SETS: dict[str, Callable] = {}  # field -> view of each name in it
    OPTIONAL_SETS: dict[str, Callable] = {}  # the same; None instead of an empty set
    ONES: dict[str, Callable] = {}  # field -> view of the one name, or None

    def __init__(self, snapshot: Snapshot, name):
        self._snapshot = snapshot
        self._name = name
        self._last: dict | None = None

    def _row(self) -> dict:
        row = self._snapshot.row(self.KIND, self._name)
        if row is not None:
            self._last = row
        elif self._last is None:
            raise KeyError(self._name)
        return self._last

    def __getattr__(self, field: str):
        if field.startswith("_"):
            raise AttributeError(field)
        row = self._row()
        if field not in row:
            raise AttributeError(f"{type(self).__name__} has no attribute {field!r}")
        value = row[field]
        snapshot = self._snapshot
        if make := self.SETS.get(field):
            return {make(snapshot, name) for name in value or ()}
        if make := self.OPTIONAL_SETS.get(field):
            return {make(snapshot, name) for name in value} if value else None
        if make := self.ONES.get(field):
            return None if value is None else make(snapshot, value)
        return value

    def __setattr__(self, field: str, value):
        if not field.startswith("_"):
            raise AttributeError(
                f"{type(self).__name__}.{field} is for reading: the scheduler's state is changed by methods of "
                "dask_scheduler"
            )
        super().__setattr__(field, value)

    def __eq__(self, other):
        return type(other) is type(self) and other._name == self._name

    def __hash__(self):
        return hash(self._name)


def _plain(snapshot: Snapshot, name):
    return name


class TaskView(View):
    """As distributed.scheduler.TaskState."""

    KIND = "tasks"
    TASK_FIELDS = ("dependencies", "dependents", "waiting_on", "waiters")

    @property
    def state(self) -> str:
        if self._snapshot.row("tasks", self._name) is None:
            return "forgotten"
        return self._row()["state"]

    @property
    def priority(self) -> tuple | None:
        priority = self._row()["priority"]
        return None if priority is None else tuple(priority)

    @property
    def run_spec(self):
        return self._snapshot.run_spec(self._name)

    @property
    def group_key(self) -> str:
        return self.group.name

    def get_nbytes(self) -> int:
        nbytes = self.nbytes
        return nbytes if nbytes >= 0 else self._snapshot.whole("scheduler")["default_data_size"]

    def get_nbytes_deps(self) -> int:
        return sum(ts.get_nbytes() for ts in self.dependencies)

    def __repr__(self):
        return f"<TaskState {self._name!r} {self.state}>"


class WorkerView(View):
    """As distributed.scheduler.WorkerState."""

    KIND = "workers"

    @property
    def status(self) -> Status:
        return Status.lookup[self._row()["status"]]

    @property
    def memory(self) -> MemoryState:
        row = self._row()
        metrics = row["metrics"]
        return MemoryState(
            process=metrics.get("memory", 0),
            unmanaged_old=row["memory_unmanaged_old"],
            managed=max(0, row["nbytes"] - metrics.get("spilled_bytes", {}).get("memory", 0)),
            spilled=metrics.get("spilled_bytes", {}).get("disk", 0),
        )

    @property
    def executing(self) -> dict:
        return {TaskView(self._snapshot, key): t for key, t in self._row()["executing"].items()}

    def identity(self) -> dict:
        row = self._row()
        same = ("host", "resources", "local_directory", "name", "nthreads", "memory_limit",
                "last_seen", "services", "metrics", "status", "nanny")  # fmt: skip
        return {"type": "Worker", "id": row["name"], **{f: row[f] for f in same}, **row["extra"]}

    def __repr__(self):
        row = self._row()
        name = f", name: {row['name']}" if row["name"] != self._name else ""
        return (
            f"<WorkerState {self._name!r}{name}, status: {row['status']}, "
            f"memory: {len(row['has_what'])}, processing: {len(row['processing'])}>"
        )


class ClientView(View):
    """As distributed.scheduler.ClientState."""

    KIND = "clients"

    def __repr__(self):
        return f"<Client {self._name!r}>"

    def __str__(self):
        return self._name


class _CollectionView(View):
    """As distributed.scheduler.TaskCollection: a count of tasks by state, with sums."""

    def __len__(self):
        return sum(self._row()["states"].values())

    def __bool__(self):
        return True


class GroupView(_CollectionView):
    """As distributed.scheduler.TaskGroup."""

    KIND = "groups"

    @classmethod
    def of_row(cls, snapshot: Snapshot, row: dict) -> GroupView:
        """A group that the scheduler may have forgotten: `row` is what is known of it then."""
        view = cls(snapshot, row["name"])
        view._last = {"dependencies": (), "types": (), "all_durations": {}, "last_worker": None, **row}
        return view

    @property
    def done(self) -> bool:
        over = ("memory", "erred", "released", "forgotten")
        return all(not count for state, count in self.states.items() if state not in over)

    def __repr__(self):
        return f"<TaskGroup {self._name!r}>"


class PrefixView(_CollectionView):
    """As distributed.scheduler.TaskPrefix."""

    KIND = "prefixes"

    def __repr__(self):
        return f"<TaskPrefix {self._name!r}>"


TaskView.SETS = {"dependencies": TaskView, "dependents": TaskView}
TaskView.OPTIONAL_SETS = {
    "waiting_on": TaskView,
    "waiters": TaskView,
    "who_wants": ClientView,
    "who_has": WorkerView,
    "erred_on": _plain,
    "host_restrictions": _plain,
    "worker_restrictions": _plain,
}
TaskView.ONES = {
    "processing_on": WorkerView,
    "exception_blame": TaskView,
    "group": GroupView,
    "prefix": PrefixView,
}
WorkerView.SETS = {
    "actors": TaskView,
    "has_what": TaskView,
    "processing": TaskView,
    "long_running": TaskView,
}
ClientView.SETS = {"wants_what": TaskView}
GroupView.SETS = {"dependencies": GroupView, "types": _plain}
GroupView.ONES = {"prefix": PrefixView, "last_worker": WorkerView}
PrefixView.SETS = {"groups": GroupView, "types": _plain}


class Views(Mapping):
    """Things of one kind by name, as the dict that stock has."""

    def __init__(self, snapshot: Snapshot, make: type[View]):
        self._snapshot = snapshot
        self._make = make

    def __getitem__(self, name) -> View:
        if self._snapshot.row(self._make.KIND, name) is None:
            raise KeyError(name)
        return self._make(self._snapshot, name)

    def __contains__(self, name) -> bool:
        return self._snapshot.row(self._make.KIND, name) is not None

    def __iter__(self) -> Iterator:
        return iter(self._snapshot.names(self._make.KIND))

    def __len__(self) -> int:
        return len(self._snapshot.names(self._make.KIND))

    def items(self):
        return [(name, self._make(self._snapshot, name)) for name in self._all()]

    def values(self):
        return [self._make(self._snapshot, name) for name in self._all()]

    def _all(self):
        return list(self._snapshot.rows(self._make.KIND))

    def __repr__(self):
        return repr(dict(self.items()))
