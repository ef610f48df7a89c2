"""What users run on the scheduler, in a planner whose scheduler the test plays."""

import asyncio
import pathlib
import pickle
import time

import pytest
from dask._task_spec import Task
from distributed.core import Status
from distributed.diagnostics.plugin import SchedulerPlugin
from distributed.protocol import pickle as distributed_pickle
from distributed.protocol.serialize import ToPickle

from planner_peer import Planner, opened

ALICE = "tcp://127.0.0.1:4001"


class State:
    """A small scheduler's state: x → y → z, as planner_view shows it."""

    def __init__(self):
        self.tasks = {
            "x": self.task("x", "memory", (), ("y",), who_has=(ALICE,), nbytes=28),
            "y": self.task("y", "processing", ("x",), ("z",), processing_on=ALICE, waiting_on=()),
            "z": self.task("z", "waiting", ("y",), (), waiting_on=("y",)),
            ("e", 0): self.task(("e", 0), "erred", (), (), exception=b"", exception_text="E()"),
        }
        self.views = []  # (what, names) asked
        self.calls = []  # other operations

    @staticmethod
    def task(key, state, dependencies, dependents, **more):
        return {
            "key": key, "state": state, "priority": (0, 1, 0), "nbytes": -1, "type": "int",
            "exception": None, "traceback": None, "exception_text": "", "traceback_text": "",
            "exception_blame": None, "erred_on": (), "suspicious": 0, "retries": 0, "who_has": (),
            "processing_on": None, "dependencies": dependencies, "dependents": dependents,
            "waiting_on": (), "waiters": (), "who_wants": ("client-1",), "group": "g",
            "prefix": "p", "annotations": {}, "actor": False, "has_lost_dependencies": False,
            "host_restrictions": None, "worker_restrictions": None, "resource_restrictions": None,
            "loose_restrictions": False, "metadata": {}, "run_id": 1, **more,
        }  # fmt: skip

    def rows(self, rows):
        fields = list(rows[0]) if rows else []
        return {"fields": fields, "rows": [list(row.values()) for row in rows]}

    def planner_view(self, what, names):
        self.views.append((what, names))
        if what == "tasks":
            chosen = self.tasks if names is None else [n for n in names if n in self.tasks]
            return self.rows([self.tasks[name] for name in chosen])
        if what == "task_keys":
            return list(self.tasks)
        if what == "workers":
            return self.rows([{
                "address": ALICE, "name": "alice", "host": "127.0.0.1", "pid": 1, "nthreads": 2,
                "memory_limit": 1000, "local_directory": "/tmp", "services": {}, "nanny": None,
                "status": "running", "metrics": {"memory": 100}, "resources": {}, "extra": {},
                "nbytes": 28, "memory_unmanaged_old": 10, "last_seen": 1.5, "executing": {"y": 0.5},
                "has_what": ("x",), "processing": ("y",), "long_running": (), "actors": (),
            }])  # fmt: skip
        if what == "clients":
            return self.rows([{"client_key": "client-1", "wants_what": ("z",), "last_seen": 1.0}])
        if what == "groups":
            states = {"memory": 1, "processing": 1, "waiting": 1, "erred": 1, "released": 0}
            return self.rows([{"name": "g", "prefix": "p", "states": states, "types": ("int",),
                               "dependencies": (), "last_worker": ALICE}])  # fmt: skip
        if what == "prefixes":
            return self.rows([{"name": "p", "groups": ("g",), "states": {"memory": 1}}])
        if what == "computations":
            return [{"id": "c", "start": 1.0, "stop": 2.0, "code": [[["x = 1", 1, 1, "f.py"]]],
                     "groups": [{"name": "g", "prefix": "p", "states": {"memory": 1}}],
                     "states": {"memory": 1}, "annotations": {}}]  # fmt: skip
        if what == "task_sets":
            return {"queued": ["z"], "unrunnable": [], "replicated_tasks": []}
        if what == "transition_log":
            return [["x", "released", "waiting", {}, "s-1", 1.0]]
        assert what == "scheduler"
        return {
            "id": "Scheduler-1", "address": "tcp://127.0.0.1:8786", "status": "running",
            "total_nthreads": 2, "idle": [], "saturated": [], "running": [ALICE],
            "aliases": {"alice": ALICE},
            "task_metadata": {}, "default_data_size": 1024,
        }  # fmt: skip

    def __call__(self, op, **arguments):
        if op == "planner_view":
            return self.planner_view(**arguments)
        self.calls.append((op, arguments))
        if op == "get_runspec":
            return ToPickle(Task(arguments["key"], pow, 2, 3))
        if op == "get_metadata":
            error = KeyError("nothing there")
            return {"status": "uncaught-error", "exception": pickle.dumps(error), "traceback": None,
                    "exception_text": repr(error), "traceback_text": ""}  # fmt: skip
        return {
            "retire_workers": {ALICE: {}},
            "events": [[1.0, {"a": 1}]],
            "who_has": {"x": [ALICE]},
            "get_cluster_state": {"scheduler": {"id": "s"}, "workers": {}, "versions": {}},
        }.get(op)


@pytest.fixture
def state():
    return State()


@pytest.fixture
def planner(state):
    planner = Planner(answers=state)
    yield planner
    planner.close()


# ---- functions ----


def test_result_arguments_and_scheduler(planner):
    assert planner.run(lambda x, y=1: x + y, 1, y=2) == 3
    assert planner.run(lambda dask_scheduler: dask_scheduler.address) == "tcp://127.0.0.1:8786"
    assert planner.run(lambda dask_worker=None: dask_worker.id) == "Scheduler-1"


def test_exception_is_the_users(planner):
    with pytest.raises(ZeroDivisionError):
        planner.run(lambda: 1 / 0)


def test_attributes_stay(planner):
    def leave(dask_scheduler):
        dask_scheduler.foo = ["left"]

    planner.run(leave)
    assert planner.run(lambda dask_scheduler: dask_scheduler.foo) == ["left"]


def test_coroutines(planner):
    async def slow(dask_scheduler):
        await asyncio.sleep(0.05)
        dask_scheduler.slow = True
        return "done"

    assert planner.run(slow) == "done"

    async def later(dask_scheduler):
        dask_scheduler.later = True

    assert planner.run(later, wait=False) is None
    time.sleep(0.1)
    assert planner.run(lambda dask_scheduler: dask_scheduler.later)
    with pytest.raises(AssertionError):
        planner.run(lambda: 1, wait=False)


def test_files_end_with_the_planner(state):
    planner = Planner(answers=state)
    path = pathlib.Path(planner.run(lambda dask_scheduler: dask_scheduler.local_directory))
    assert path.is_dir()
    planner.close()
    assert not path.exists()


def test_exit_does_not_end_the_planner(planner):
    with pytest.raises((SystemExit, Exception)):
        planner.run(lambda: exit(3))
    assert planner.run(lambda: 1) == 1


def test_result_that_cannot_be_sent(planner):
    with pytest.raises(TypeError):
        planner.run(lambda: __import__("threading").Lock())


# ---- the view ----


def test_tasks(planner):
    def look(dask_scheduler):
        tasks = dask_scheduler.tasks
        x, y, z = tasks["x"], tasks["y"], tasks["z"]
        assert len(tasks) == 4 and list(tasks) == ["x", "y", "z", ("e", 0)]
        assert "x" in tasks and "nothing" not in tasks and tasks.get("nothing") is None
        assert x.state == "memory" and x.nbytes == 28 and x.get_nbytes() == 28
        assert y.get_nbytes() == 1024
        assert y.dependencies == {x} and y.dependents == {z} and x.dependents == {y}
        assert {ws.name for ws in x.who_has} == {"alice"} and y.who_has is None
        assert y.processing_on.address == x.who_has.pop().address
        assert z.waiting_on == {y} and y.waiting_on is None
        assert z.group.name == "g" and z.prefix.name == "p" and z.group_key == "g"
        assert [cs.client_key for cs in z.who_wants] == ["client-1"]
        assert z.priority == (0, 1, 0) and z.annotations == {} and not z.actor
        erred = [ts for ts in tasks.values() if ts.state == "erred"]
        assert [ts.exception_text for ts in erred] == ["E()"]
        assert [k for k, v in tasks.items() if v.exception is not None] == [("e", 0)]
        assert repr(x) == "<TaskState 'x' memory>"
        assert y.run_spec({}) == 8

    planner.run(look)


def test_workers_clients_groups(planner):
    def look(dask_scheduler):
        s = dask_scheduler
        (ws,) = s.workers.values()
        assert ws.name == "alice" and ws.nthreads == 2 and ws.status == Status.running
        assert {ts.key for ts in ws.has_what} == {"x"}
        assert {ts.key for ts in ws.processing} == {"y"}
        assert {ts.key: t for ts, t in ws.executing.items()} == {"y": 0.5}
        assert ws.memory.process == 100 and ws.memory.managed == 28
        assert s.memory.process == 100
        assert ws.identity()["memory_limit"] == 1000
        assert s.clients["client-1"].wants_what == {s.tasks["z"]}
        group = s.task_groups["g"]
        assert len(group) == 4 and not group.done and group.prefix == s.task_prefixes["p"]
        assert s.task_prefixes["p"].groups == {group}
        assert s.running == {ws} and s.idle == {} and s.total_nthreads == 2
        assert s.coerce_address("alice") == ws.address
        assert len(s.computations) == 1 and s.computations[0].code[0][0].code == "x = 1"
        assert s.computations[0].states["memory"] == 1
        assert {g.prefix.name for g in s.computations[0].groups} == {"p"}
        assert s.queued == {s.tasks["z"]} and s.unrunnable == set()
        assert s.transition_log[0].key == "x"
        assert s.status == Status.running

    planner.run(look)


def test_a_walk_costs_a_query_a_level(planner, state):
    def walk(dask_scheduler):
        seen, stack = set(), [dask_scheduler.tasks["z"]]
        while stack:
            ts = stack.pop()
            seen.add(ts.key)
            stack += ts.dependencies
        return seen

    assert planner.run(walk) == {"x", "y", "z"}
    assert [what for what, _ in state.views] == ["tasks", "tasks", "tasks"]


def test_state_stands_still_until_the_code_awaits(planner, state):
    def stall(dask_scheduler):
        return [dask_scheduler.tasks["x"].state for _ in range(5)]

    planner.run(stall)
    assert len(state.views) == 1

    async def wait(dask_scheduler):
        for _ in range(3):
            dask_scheduler.tasks["x"].state
            await asyncio.sleep(0.01)

    planner.run(wait)
    assert len(state.views) == 4


def test_operations(planner, state):
    async def call(dask_scheduler):
        dask_scheduler.log_event("topic", {"a": 1})
        assert dask_scheduler.get_events("topic") == ((1.0, {"a": 1}),)
        assert dask_scheduler.get_who_has(["x"]) == {"x": (ALICE,)}
        retired = await dask_scheduler.retire_workers(names=["alice"])
        dask_scheduler.worker_send(ALICE, {"op": "x"})
        with pytest.raises(KeyError, match="nothing there"):
            dask_scheduler.get_metadata(["a"])
        with pytest.raises(AttributeError, match="compatibility"):
            dask_scheduler.no_such_thing
        return retired

    assert planner.run(call) == {ALICE: {}}
    assert [call["op"] for call in planner.asked if call["op"] != "planner_view"] == [
        "log_event", "events", "who_has", "retire_workers", "planner_worker_send", "get_metadata",
    ]  # fmt: skip
    assert ("retire_workers", {"names": ("alice",)}) in state.calls


def test_workers_to_close_by_key(planner, state):
    """Stock's own code over the view: busy workers stay."""
    reply = planner.request("workers_to_close", key=pickle.dumps(by_host), n=1)
    assert reply["status"] == "OK" and list(reply["reply"]) == [ALICE]


def test_dump_to_url(planner, state, tmp_path):
    """The scheduler gives the state, fsspec writes it."""
    url = str(tmp_path / "dump")
    reply = planner.request("dump_cluster_state_to_url", url=url, exclude=[], format="yaml")
    assert reply["status"] == "OK", reply
    assert "id: s" in (tmp_path / "dump.yaml").read_text()
    assert ("get_cluster_state", {"exclude": ()}) in state.calls


def by_host(ws):
    return ws.host


# ---- plugins ----


class Counter(SchedulerPlugin):
    name = "counter"

    def __init__(self):
        self.seen = []

    async def start(self, scheduler):
        self.scheduler = scheduler
        scheduler.counter = self

    def transition(self, key, start, finish, *args, stimulus_id, **kwargs):
        self.seen.append((key, start, finish, stimulus_id, kwargs))

    async def add_worker(self, scheduler, worker):
        await asyncio.sleep(0)
        self.seen.append(("worker", worker, scheduler is self.scheduler))


def register(planner, plugin, **kwargs):
    kwargs = {"name": None, "idempotent": False, **kwargs}
    return planner.request(
        "register_scheduler_plugin", plugin=distributed_pickle.dumps(plugin), **kwargs
    )


def test_plugin_hooks(planner):
    assert register(planner, Counter())["status"] == "OK"
    assert planner.interest["hooks"] == ("transition", "add_worker")
    assert planner.interest["plugins"] == ("counter",)
    planner.request(
        "events",
        events=[
            ["transition", {"key": ("x", 1), "start": "waiting", "finish": "memory",
                            "stimulus_id": "s", "kwargs": {"worker": ALICE}}],
            ["add_worker", {"worker": ALICE}],
            ["remove_client", {"client": "c"}],
        ],
    )  # fmt: skip
    seen = planner.run(lambda dask_scheduler: dask_scheduler.counter.seen)
    assert seen == [
        (("x", 1), "waiting", "memory", "s", {"worker": ALICE}),
        ("worker", ALICE, True),
    ]
    assert planner.request("unregister_scheduler_plugin", name="counter")["status"] == "OK"
    assert planner.interest["hooks"] == () and planner.interest["plugins"] == ()
    reply = planner.request("unregister_scheduler_plugin", name="counter")
    assert isinstance(pickle.loads(reply["error"]["exception"]), ValueError)


def test_plugin_that_fails_to_start(planner):
    class Broken(SchedulerPlugin):
        def start(self, scheduler):
            raise RuntimeError("no")

    reply = register(planner, Broken())
    assert reply["status"] == "error" and "no" in reply["error"]["exception_text"]
    assert planner.run(lambda dask_scheduler: list(dask_scheduler.plugins)) == []


def test_plugin_idempotent_and_failing_hooks(planner):
    class Sour(SchedulerPlugin):
        def transition(self, *args, **kwargs):
            raise RuntimeError("sour")

    register(planner, Sour(), name="a")
    register(planner, Counter())
    register(planner, Counter(), idempotent=True)
    event = {"key": "x", "start": "a", "finish": "b", "stimulus_id": "s", "kwargs": {}}
    planner.request("events", events=[["transition", event]])
    assert len(planner.run(lambda dask_scheduler: dask_scheduler.counter.seen)) == 1


def test_valid_workers(planner):
    class Keep(SchedulerPlugin):
        def valid_workers_downscaling(self, scheduler, workers):
            return [ws for ws in workers if ws.name != "alice"]

    register(planner, Keep())
    assert planner.interest["hooks"] == ("valid_workers_downscaling",)
    assert planner.request("valid_workers", workers=[ALICE])["reply"] == ()


def test_added_operations(planner):
    def extend(dask_scheduler):
        async def double(comm, x):
            return x * 2

        dask_scheduler.handlers["double"] = double
        dask_scheduler.stream_handlers["note"] = lambda worker: None

    planner.run(extend)
    assert planner.interest["handlers"] == ("double",)
    assert planner.interest["stream_handlers"] == ("note",)
    reply = planner.request("handler", name="double", message={"x": 21}, peer="tcp://a")
    assert reply["reply"] == 42


# ---- feeds, preloads ----


def test_feed(planner):
    def setup(scheduler):
        return {"n": 0}

    def function(scheduler, state):
        state["n"] += 1
        return state["n"]

    def teardown(scheduler, state):
        scheduler.ended = state["n"]

    number = next(planner.numbers)
    pickled = {
        name: distributed_pickle.dumps(f)
        for name, f in {"setup": setup, "function": function, "teardown": teardown}.items()
    }
    planner.send({"op": "feed", "id": number, "interval": "10ms", **pickled})
    items = [planner.receive()[0] for _ in range(3)]
    assert [(m["op"], m["id"], m["item"]) for m in items] == [
        ("feed-item", number, n) for n in (1, 2, 3)
    ]
    planner.send({"op": "cancel", "id": number})
    while (message := planner.receive()[0])["op"] == "feed-item":
        pass
    assert message["op"] == "reply" and message["id"] == number
    assert planner.run(lambda dask_scheduler: dask_scheduler.ended) >= 3


def test_progress_bar_feed(planner, state):
    """As distributed's progress(): the feed installs a plugin that counts keys."""
    from distributed.diagnostics.progress import Progress

    async def setup(scheduler):
        p = Progress(["z"], scheduler, complete=False)
        await p.setup()
        return p

    def function(scheduler, p):
        return {"all": len(p.all_keys), "remaining": len(p.keys), "status": p.status}

    number = next(planner.numbers)
    planner.send(
        {
            "op": "feed",
            "id": number,
            "interval": "10ms",
            "setup": distributed_pickle.dumps(setup),
            "function": distributed_pickle.dumps(function),
            "teardown": None,
        }
    )
    first = planner.receive()[0]["item"]
    assert first == {"all": 2, "remaining": 2, "status": None}
    assert planner.interest["hooks"] == ("restart", "transition")
    for key, start in (("y", "processing"), ("z", "processing")):
        event = {"key": key, "start": start, "finish": "memory", "stimulus_id": "s", "kwargs": {}}
        planner.send({"op": "events", "id": None, "events": [["transition", event]]})
    while (item := planner.receive()[0]["item"])["remaining"]:
        pass
    assert item == {"all": 2, "remaining": 0, "status": "finished"}


def test_preload(planner, tmp_path):
    path = tmp_path / "preloaded.py"
    path.write_text(
        "def dask_setup(scheduler):\n"
        "    scheduler.handlers['ping'] = lambda: 'pong'\n"
        "    scheduler.foo = 'set'\n"
    )
    assert planner.request("preload", preload=[str(path)], preload_argv=[])["status"] == "OK"
    assert planner.run(lambda dask_scheduler: dask_scheduler.foo) == "set"
    assert planner.request("handler", name="ping", message={})["reply"] == "pong"
    reply = planner.request("preload", preload=["no_such_module_here"], preload_argv=[])
    assert reply["status"] == "error"


def test_two_requests_at_once(planner):
    """A function that waits holds up no other."""

    async def slow():
        await asyncio.sleep(0.3)
        return "slow"

    for number, function in ((9001, slow), (9002, lambda: "quick")):
        pickled = distributed_pickle.dumps(function)
        planner.send({"op": "run_function", "id": number, "function": pickled, "wait": True})
    answers = [planner.receive()[0] for _ in range(2)]
    assert [(m["id"], opened(m)) for m in answers] == [(9002, "quick"), (9001, "slow")]
