"""Functions and plugins on workers, nannies and the scheduler; files; metadata."""

import os
import sys

import dask
import pytest
from distributed import NannyPlugin, SchedulerPlugin, WorkerPlugin, get_worker, wait
from harness import eventually
from tasks import inc


def test_run_on_workers(client, a):
    workers = set(client.scheduler_info()["workers"])
    assert client.run(inc, 1) == dict.fromkeys(workers, 2)
    names = client.run(lambda dask_worker: dask_worker.name)
    assert set(names.values()) == {"alice", "bob", "carol"}

    async def coroutine(dask_worker):
        return dask_worker.nthreads if hasattr(dask_worker, "nthreads") else 1

    assert set(client.run(coroutine)) == workers
    assert client.run(os.getpid, workers=[a], wait=True).keys() == {a}

    def fails(dask_worker):
        if dask_worker.name == "alice":
            raise ValueError("alice cannot")
        return 1

    with pytest.raises(ValueError, match="alice cannot"):
        client.run(fails)
    results = client.run(fails, on_error="return")
    assert isinstance(results.pop(a), ValueError) and set(results.values()) == {1}
    assert len(client.run(fails, on_error="ignore")) == 2


def test_run_on_scheduler(client):
    assert client.run_on_scheduler(inc, 1) == 2
    assert client.run_on_scheduler(lambda dask_scheduler: dask_scheduler.address) == client.scheduler.address

    async def coroutine(dask_scheduler, x):
        return len(dask_scheduler.workers) + x

    assert client.run_on_scheduler(coroutine, x=10) == 13
    with pytest.raises(ZeroDivisionError):
        client.run_on_scheduler(lambda: 1 / 0)


class Counting(WorkerPlugin):
    name = "counting"

    def __init__(self, by):
        self.by = by

    def setup(self, worker):
        worker.counted = self.by

    def teardown(self, worker):
        del worker.counted


def counted(dask_worker):
    return getattr(dask_worker, "counted", None)


def test_worker_plugin(cluster, client):
    client.register_plugin(Counting(5))
    assert set(client.run(counted).values()) == {5}
    client.register_plugin(Counting(6))  # replaces
    assert set(client.run(counted).values()) == {6}
    assert client.submit(lambda: get_worker().counted).result() == 6
    cluster.start_workers("dora")  # a worker that comes later has it as well
    assert len(client.run(counted)) == 4 and set(client.run(counted).values()) == {6}
    cluster.kill_worker("dora")
    client.unregister_worker_plugin("counting")
    assert set(client.run(counted).values()) == {None}

    class Fails(WorkerPlugin):
        def setup(self, worker):
            raise RuntimeError("cannot set up")

    with pytest.raises(RuntimeError, match="cannot set up"):
        client.register_plugin(Fails(), name="fails")
    client.unregister_worker_plugin("fails")


class SetVariable(NannyPlugin):
    name = "set-variable"
    restart = True

    def setup(self, nanny):
        nanny.env["INTEROP_VARIABLE"] = "set"


def variable():
    return os.getenv("INTEROP_VARIABLE")


def test_nanny_plugin(make_cluster, connect):
    cluster = make_cluster("w", nanny=True)
    client = connect(cluster)
    client.register_plugin(SetVariable())
    eventually(lambda: len(cluster.addresses()) == 1, 30)
    eventually(lambda: set(client.run(variable).values()) == {"set"})
    cluster.start_workers("x", nanny=True)
    assert set(client.run(variable).values()) == {"set"}
    client.unregister_worker_plugin("set-variable", nanny=True)
    assert set(client.run(lambda: 1, nanny=True).values()) == {1}


class Recorder(SchedulerPlugin):
    name = "recorder"

    def __init__(self):
        self.seen = []

    def transition(self, key, start, finish, *args, stimulus_id, **kwargs):
        self.seen.append((key, start, finish))

    def add_client(self, scheduler, client):
        self.seen.append(("client", client.partition("-")[0]))


def recorded(dask_scheduler):
    return list(dask_scheduler.plugins["recorder"].seen)


def test_scheduler_plugin(client, cluster, connect):
    client.register_plugin(Recorder())
    f = client.submit(inc, 1, key="watched")
    assert f.result() == 2

    def moves():
        return [(start, finish) for key, start, finish in filter(lambda row: row[0] == "watched", seen())]

    def seen():
        return client.run_on_scheduler(recorded)

    eventually(lambda: ("processing", "memory") in moves())
    assert moves()[0][0] == "released"
    connect(cluster)
    eventually(lambda: ("client", "Client") in seen())
    client.unregister_scheduler_plugin("recorder")

    def names(dask_scheduler):
        return list(dask_scheduler.plugins)

    assert "recorder" not in client.run_on_scheduler(names)


class Details(SchedulerPlugin):
    """Notes what its hooks are called with"""

    name = "details"

    def __init__(self):
        self.graphs = []
        self.ends = {}
        self.events = []
        self.workers = []

    def update_graph(self, scheduler, *, client, keys, tasks, annotations, priority, stimulus_id, **_):
        self.graphs.append((client, keys, tasks, dict(annotations), priority))

    def transition(self, key, start, finish, *args, stimulus_id, **kwargs):
        if start == "processing":
            self.ends[key] = (finish, kwargs)

    def log_event(self, topic, msg):
        self.events.append((topic, msg))

    def add_worker(self, scheduler, worker):
        self.workers.append(("add", worker))

    def remove_worker(self, scheduler, worker, *, stimulus_id, **_):
        self.workers.append(("remove", worker))


def test_what_scheduler_plugins_are_told(make_cluster, connect):
    cluster = make_cluster("alice")
    client = connect(cluster)
    client.register_plugin(Details())
    with dask.annotate(colour="red", size={"x": 1}):
        x = client.submit(inc, 1, key="x")
    y = client.submit(sum, [x, x], key=("y", 0))
    bad = client.submit(lambda _: 1 / 0, x, key="bad")
    wait([y, bad])
    client.log_event("mine", {"some": (1, 2)})

    def look(dask_scheduler):
        plugin = dask_scheduler.plugins["details"]
        # the exception comes as it is stored, which only a client can open
        bad = plugin.ends["bad"][0], sorted(plugin.ends["bad"][1])
        return plugin.graphs, plugin.ends["x"], bad, plugin.events, plugin.workers

    (first, second, _), end, bad, events, _ = eventually(
        lambda: (seen := client.run_on_scheduler(look)) and seen[3] and seen
    )
    name, keys, tasks, annotations, priority = first
    assert name == client.id and keys == {"x"} and list(tasks) == ["x"]
    assert annotations == {"colour": {"x": "red"}, "size": {"x": {"x": 1}}}
    assert priority.keys() == {"x"} and len(priority["x"]) == 3
    assert second[1] == {("y", 0)} and set(second[2]) >= {("y", 0)}
    finish, details = end
    assert finish == "memory" and details["worker"] in client.scheduler_info()["workers"]
    assert details["startstops"][0]["action"] == "compute" and details["typename"] == "int"
    assert bad[0] == "erred" and {"exception", "exception_text", "startstops"} <= set(bad[1])
    assert ("mine", {"some": (1, 2)}) in [e for e in client.run_on_scheduler(look)[3]]

    cluster.start_workers("bob")
    (bob,) = client.scheduler_info()["workers"].keys() - {details["worker"]}
    client.retire_workers([bob])
    eventually(lambda: client.run_on_scheduler(look)[4] == [("add", bob), ("remove", bob)])


def test_operations_that_users_add(client):
    def add(dask_scheduler):
        dask_scheduler.heard = []
        dask_scheduler.handlers["double"] = lambda x: 2 * x
        dask_scheduler.stream_handlers["hear"] = lambda client, what: dask_scheduler.heard.append(
            (client, what)
        )

    client.run_on_scheduler(add)
    assert client.sync(client.scheduler.double, x=21) == 42
    client._send_to_scheduler({"op": "hear", "what": [1]})
    heard = [(client.id, (1,))]
    eventually(lambda: client.run_on_scheduler(lambda dask_scheduler: dask_scheduler.heard) == heard)


def test_upload_file(client, tmp_path):
    module = tmp_path / "interop_uploaded.py"
    module.write_text("def f():\n    return 123\n")
    client.upload_file(str(module))

    def use():
        import interop_uploaded

        return interop_uploaded.f()

    assert client.submit(use, pure=False).result() == 123
    module.write_text("def f():\n    return 456\n")
    client.upload_file(str(module))
    assert client.submit(use, pure=False).result() == 456
    sys.modules.pop("interop_uploaded", None)


def test_metadata(client):
    client.set_metadata("x", 1)
    client.set_metadata(["deep", "er"], {"a": [1, 2]})
    assert client.get_metadata("x") == 1
    assert client.get_metadata(["deep", "er", "a"]) in ([1, 2], (1, 2))
    assert client.get_metadata("none", default=5) == 5
    with pytest.raises(KeyError):
        client.get_metadata("none")


def test_workers_setup_from_preload(make_cluster, connect, tmp_path):
    preload = tmp_path / "interop_preload.py"
    preload.write_text("async def dask_setup(server):\n    server.preloaded = True\n")
    cluster = make_cluster("w", options=["--preload", str(preload)])
    client = connect(cluster)
    assert set(client.run(lambda dask_worker: dask_worker.preloaded).values()) == {True}


def test_scheduler_setup_from_preload(make_cluster, connect, tmp_path):
    preload = tmp_path / "interop_preload_scheduler.py"
    preload.write_text("def dask_setup(scheduler):\n    scheduler.preloaded = 7\n")
    cluster = make_cluster(scheduler_options=["--preload", str(preload)])
    client = connect(cluster)
    assert client.run_on_scheduler(lambda dask_scheduler: dask_scheduler.preloaded) == 7
