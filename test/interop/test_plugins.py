"""Functions and plugins on workers, nannies and the scheduler; files; metadata."""

import os
import sys

import pytest
from distributed import NannyPlugin, SchedulerPlugin, WorkerPlugin, get_worker
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
