"""What user code finds on a cask worker: the worker, clients, plugins, actors, files, profiles, logs."""

from __future__ import annotations

import importlib
import logging
import os
import sys
import threading
import time

import dask
import numpy as np
import pytest
from distributed import (
    Client,
    Event,
    KilledWorker,
    Reschedule,
    WorkerPlugin,
    get_client,
    get_worker,
    rejoin,
    secede,
    wait,
    worker_client,
)

import harness
from worker_clusters import client, mixed  # noqa: F401  (fixtures)


def inc(x):
    return x + 1


@pytest.fixture
def alice(mixed):
    return mixed.addresses()["alice"]


# ---- calls ----


def test_run(client, alice):
    def who(dask_worker):
        return dask_worker.address, dask_worker.name, os.getpid()

    found = client.run(who, workers=[alice])
    assert found[alice][:2] == (alice, "alice")
    assert found[alice][2] == client.submit(os.getpid, workers=alice, pure=False).result()


def test_run_that_fails(client, alice):
    def fail():
        raise ZeroDivisionError("here")

    with pytest.raises(ZeroDivisionError, match="here"):
        client.run(fail, workers=[alice])


def test_run_coroutine(client, alice):
    async def double(x):
        return 2 * x

    assert client.run(double, 4, workers=[alice]) == {alice: 8}


def test_versions_agree(client):
    found = client.get_versions(check=True)
    assert {worker["packages"]["distributed"] for worker in found["workers"].values()} == {
        found["client"]["packages"]["distributed"]
    }


def test_upload_file(client, alice, tmp_path):
    path = tmp_path / "cask_uploaded_module.py"
    path.write_text("def value():\n    return 42\n")
    client.upload_file(str(path))

    def use():
        import cask_uploaded_module

        return cask_uploaded_module.value()

    assert client.submit(use, workers=alice, pure=False).result() == 42


def test_call_stack_and_profile(client, alice, tmp_path):
    gate = tmp_path / "gate"

    def wait_at_the_gate(path):
        while not os.path.exists(path):
            time.sleep(0.01)

    future = client.submit(wait_at_the_gate, str(gate), workers=alice, pure=False)
    stack = harness.eventually(lambda: client.call_stack(future))
    assert "wait_at_the_gate" in str(stack[alice][future.key])
    harness.eventually(lambda: "wait_at_the_gate" in str(client.profile(workers=[alice])))
    gate.touch()
    future.result()


def test_logs(client, alice):
    client.run(lambda: logging.getLogger("distributed.worker").warning("a word from user code"), workers=[alice])
    lines = [line for _, line in client.get_worker_logs(workers=[alice])[alice]]
    assert any("a word from user code" in line for line in lines)
    assert any("Registered to" in line for line in lines)


def test_story(client, alice):
    future = client.submit(inc, 1, workers=alice, key="told")
    wait(future)
    rows = [row for row in client.story("told") if row[0] == alice]
    assert [row[2:5] for row in rows if len(row) == 8][-1] == ("executing", "memory", "memory")


def test_dump(client, alice):
    future = client.submit(inc, 1, workers=alice, key="dumped")
    wait(future)
    dump = harness.ask(alice, "dump_state")
    assert dump["tasks"]["dumped"]["state"] == "memory"
    assert dump["address"] == alice and dump["nthreads"] == 2
    assert isinstance(dump["config"], dict)  # what was set: defaults are not in it
    assert any("Registered to" in text for _, text in dump["logs"])
    assert {"config", "logs", "tasks"}.isdisjoint(harness.ask(alice, "dump_state", exclude=["config", "logs", "tasks"]))


class Module:
    """Imports a module where it is opened, as a function of that module would"""

    def __init__(self, name):
        self.name = name

    def __reduce__(self):
        return importlib.import_module, (self.name,)


def test_tasks_that_import_modules_of_one_package_at_a_time(client, alice, tmp_path):
    """One thread begins with the package, another with a part of it that cannot be loaded first"""
    name = f"ring_{os.getpid()}_{id(tmp_path)}"
    package = tmp_path / name
    package.mkdir()
    (package / "__init__.py").write_text(f"import time\ntime.sleep(1)\nfrom {name} import core\n")
    (package / "core.py").write_text(f"first = 1\nfrom {name}.part import second\n")
    (package / "part.py").write_text(f"from {name}.core import first\nsecond = 2\n")

    def add_to_path(path):
        sys.path.append(path)

    client.run(add_to_path, str(tmp_path), workers=[alice])
    modules = client.scatter([Module(name), Module(f"{name}.part")], workers=[alice], hash=False)
    futures = [client.submit(getattr, module, "__name__", workers=alice, pure=False) for module in modules]
    assert client.gather(futures) == [name, f"{name}.part"]


# ---- inside a task ----


def test_client_inside_a_task(client, alice):
    def nested(x):
        return sum(get_client().gather(get_client().map(inc, range(x))))

    assert client.submit(nested, 5, workers=alice, pure=False).result(timeout=60) == 15


def test_worker_client(client, mixed):
    def nested(x):
        with worker_client() as inner:
            return inner.submit(inc, x).result()

    futures = client.map(nested, range(6), pure=False)
    assert client.gather(futures) == list(range(1, 7))


def test_secede_frees_the_thread(client, mixed):
    """bob has one thread: what waits for another task must leave it"""

    def outer():
        inner = get_client().submit(inc, 10, workers="bob", pure=False)
        secede()
        value = inner.result()
        rejoin()
        return value

    assert client.submit(outer, workers="bob", pure=False).result(timeout=60) == 11


def test_reschedule(client, mixed, tmp_path):
    def second_time(mark):
        if not mark.exists():
            mark.touch()
            raise Reschedule
        return get_worker().name

    names = client.gather(client.map(second_time, [tmp_path / str(i) for i in range(20)]))
    assert set(names) <= {"alice", "bob", "stan"}
    assert len(list(tmp_path.iterdir())) == 20


def test_thread_names_and_current_task(client, alice):
    def look():
        return get_worker().get_current_task(), threading.current_thread().name

    key, name = client.submit(look, workers=alice, key="look-here").result()
    assert key == "look-here" and name.startswith("alice-Dask-Default-Threads")


def test_data_of_the_worker(client, alice):
    """get_worker().data shows what peers and clients brought, too"""
    brought = client.scatter({"brought": 17}, workers=[alice])
    kept = client.submit(inc, 1, workers=alice, key="made")
    wait(kept)

    def look():
        data = get_worker().data
        return data["brought"], data["made"], "brought" in data, "absent" in data

    assert client.submit(look, workers=alice, pure=False).result() == (17, 2, True, False)
    assert client.gather(brought) == {"brought": 17}


# ---- the worker's state ----


def test_a_task_sees_itself(client, alice):
    """As code does that looks up its own annotations, or who its inputs are"""
    source = client.submit(inc, 1, workers=alice, key="source")

    def look(_):
        worker = get_worker()
        task = worker.state.tasks[worker.get_current_task()]
        (one,) = task.dependencies
        seen = task.state, task.annotations["color"], one.key, one.state, one.nbytes
        assert task.key in {other.key for other in worker.state.executing}
        assert repr(task) == "<TaskState 'looker' executing>"
        return seen, {other.key for other in one.dependents}

    with dask.annotate(color="blue"):
        looker = client.submit(look, source, workers=alice, key="looker")
    seen, dependents = looker.result()
    assert seen == ("executing", "blue", "source", "memory", sys.getsizeof(2))
    assert dependents == {"looker"}


def test_state_of_the_worker(client, alice):
    """What people look at by client.run when something hangs"""
    kept = client.submit(inc, 1, workers=alice, key="kept")
    wait(kept)
    brought = client.scatter({"brought": b"x" * 1000}, workers=[alice])
    event = Event("state-of-the-worker")
    running = client.map(lambda _, event: event.wait(), range(3), event=event, workers=alice, pure=False)

    def look(dask_worker):
        state = dask_worker.state
        return {
            "states": {str(key): task.state for key, task in state.tasks.items()},
            "counts": state.task_counter.current_count(by_prefix=False),
            "executing": sorted(task.key for task in state.executing),
            "ready": [task.key for task in state.ready.sorted()],
            "executing_count": state.executing_count,
            "data": (sorted(dask_worker.data.memory), list(dask_worker.data.disk)),
            "spilled": dask_worker.data.spilled_total,
            "absent": "nothing" in state.tasks,
            "told": [entry for entry in state.story("kept") if entry[:3] == ("kept", "executing", "memory")],
            "type": state.tasks["kept"].type,
        }

    harness.eventually(lambda: client.run(look, workers=[alice])[alice]["executing_count"] == 2)
    seen = client.run(look, workers=[alice])[alice]
    assert seen["states"]["kept"] == seen["states"]["brought"] == "memory"
    assert sorted(seen["executing"] + seen["ready"]) == sorted(f.key for f in running)
    assert (len(seen["executing"]), len(seen["ready"])) == (2, 1)
    assert seen["counts"] == {"memory": 2, "executing": 2, "ready": 1}
    assert seen["data"] == (["brought", "kept"], [])
    assert seen["spilled"] == (0, 0) and not seen["absent"]
    assert len(seen["told"]) == 1 and seen["type"] is int
    event.set()
    assert client.gather(running) == [True] * 3 and client.gather(brought)


def test_state_is_for_reading(client, alice):
    def try_to(dask_worker):
        failed = []
        for attempt in (
            lambda: dask_worker.state.tasks.pop("x"),
            lambda: dask_worker.state.handle_stimulus(),
            lambda: dask_worker.state.stimulus_log,
            lambda: dask_worker.state.tasks["absent"],
        ):
            try:
                attempt()
            except Exception as error:
                failed.append(type(error))
        return failed

    assert client.run(try_to, workers=[alice])[alice] == [
        AttributeError, NotImplementedError, AttributeError, KeyError,
    ]  # fmt: skip


def test_thresholds_set_by_user_code(client, alice):
    """memory_manager's are the worker's: one that any memory is over pauses it"""

    def pause_at(fraction, dask_worker):
        dask_worker.memory_manager.memory_pause_fraction = fraction

    def status():
        return client.scheduler_info()["workers"][alice]["status"]

    client.run(pause_at, 1e-9, workers=[alice])
    harness.eventually(lambda: status() == "paused")
    client.run(pause_at, 0.95, workers=[alice])
    harness.eventually(lambda: status() == "running")


def test_transfers_of_the_worker(client, alice, mixed):
    """Which values came, and went; as in stock's logs"""
    made = client.submit(bytes, 50_000, workers=alice, key="sent")
    assert client.submit(len, made, workers=mixed.addresses()["stan"], pure=False).result() == 50_000

    def sent(dask_worker):
        assert dask_worker.transfer_outgoing_count_total > 0
        return [entry["keys"] for entry in dask_worker.transfer_outgoing_log]

    assert any("sent" in keys for keys in client.run(sent, workers=[alice])[alice])


def test_a_client_that_refuses_pickle(client, alice, mixed):
    with Client(mixed.address, serializers=["dask", "msgpack"], set_as_default=False) as wary:
        for value in (2, 1.5, "text", None, True):
            assert wary.submit(lambda x: x, value, workers=alice, pure=False).result() == value
        assert wary.submit(np.ones, 5, workers=alice).result().sum() == 5
        assert wary.run(lambda: 1, workers=[alice]) == {alice: 1}
        function = wary.submit(lambda x: x, inc, workers=alice)
        with pytest.raises(TypeError):
            wary.gather(function, direct=True)
        with pytest.raises(TypeError):
            wary.run(lambda: inc, workers=[alice])


# ---- plugins ----


class Counting(WorkerPlugin):
    name = "counting"

    def setup(self, worker):
        worker.counting = 10

    def teardown(self, worker):
        del worker.counting


def test_plugin(client, alice):
    client.register_plugin(Counting())

    def look(dask_worker):
        return getattr(dask_worker, "counting", None)

    assert client.run(look, workers=[alice]) == {alice: 10}
    client.unregister_worker_plugin("counting")
    assert client.run(look, workers=[alice]) == {alice: None}


def test_plugin_survives_a_crash(client, alice):
    client.register_plugin(Counting())
    with pytest.raises(KilledWorker):
        client.submit(os._exit, 1, workers=alice, pure=False).result(timeout=60)
    seen = client.submit(lambda: get_worker().counting, workers=alice, pure=False)
    assert seen.result(timeout=60) == 10
    client.unregister_worker_plugin("counting")


# ---- actors ----


class Counter:
    n = 0

    def add(self, by):
        self.n += by
        return self.n


def test_actor(client, alice):
    counter = client.submit(Counter, actor=True, workers=alice).result()
    assert [counter.add(1).result() for _ in range(3)] == [1, 2, 3]
    assert counter.n == 3

    def use(actor):
        return actor.add(10).result()

    assert client.submit(use, counter, workers="stan", pure=False).result() == 13


# ---- heartbeats ----


def test_metrics_reach_the_scheduler(client, alice, mixed):
    """What tasks cost, by prefix, and what user code meters"""

    def add_metric(dask_worker):
        dask_worker.metrics["cask_test_metric"] = lambda worker: 17

    client.run(add_metric, workers=[alice])

    def look():
        client.submit(inc, 1, workers=alice, pure=False).result()
        metrics = mixed.ask("identity", n_workers=-1)["workers"][alice]["metrics"]
        digests = metrics["digests_total_since_heartbeat"]
        return (
            metrics["cask_test_metric"] == 17
            and metrics["memory"] > 30_000_000
            and any(name[:2] == ("execute", "inc") for name in digests)
        )

    harness.eventually(look, 30, "the metrics have come")
