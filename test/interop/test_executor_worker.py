"""What user code finds in an executor: the worker, clients, plugins, operations, actors, profiles.
A stock scheduler runs where code needs one."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import threading
import time

import cloudpickle
import pytest
from dask._task_spec import Task, TaskRef
from distributed import WorkerPlugin, get_client, get_worker, worker_client
from distributed.core import clean_exception

import harness
from executor_peer import HERE, Peer, channel, wait_for_file

CRASH_LIBRARY = str(harness.ROOT / "build/src/exec/libcask-crash.so")


@pytest.fixture(scope="module")
def scheduler(tmp_path_factory):
    """The address of a stock scheduler that has one stock worker."""
    path = tmp_path_factory.mktemp("scheduler") / "scheduler.json"
    environment = {**os.environ, "PYTHONPATH": str(HERE)}
    commands = (
        ["distributed.cli.dask_scheduler", "--port", "0", "--no-dashboard"],
        ["distributed.cli.dask_worker", "--no-nanny", "--nthreads", "2", "--no-dashboard"],
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-m", *command, "--scheduler-file", str(path)],
            env=environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for command in commands
    ]
    deadline = time.time() + 60
    while not path.exists() and time.time() < deadline:
        time.sleep(0.05)
    import json

    yield json.loads(path.read_text())["address"]
    for process in processes:
        process.kill()
        process.wait()


@pytest.fixture(scope="module")
def shared(scheduler):
    peer = Peer(nthreads=2, scheduler=scheduler, nanny="tcp://127.0.0.1:3")
    assert peer.welcome.text == ""
    yield peer
    peer.close()


@pytest.fixture
def peer(shared):
    shared.events.clear()
    return shared


def value_of(peer, function, *arguments, key=None, inputs=(), **options):
    """What `function` gives when it runs as a task."""
    task = Task(key or f"{function.__name__}-{time.time()}", function, *arguments)
    handle = peer.run(task, inputs, **options)
    message = peer.wait(channel.DONE, channel.FAILED, handle=handle)
    if message.op == channel.FAILED:
        _, error, trace = clean_exception(message.exception, message.traceback)
        raise error.with_traceback(trace)
    return peer.fetch(handle)


# ---- get_worker ----


def test_get_worker(peer, scheduler):
    def look():
        worker = get_worker()
        return {
            "address": worker.address,
            "name": worker.name,
            "nanny": worker.nanny,
            "scheduler": worker.scheduler.address,
            "local_directory": worker.local_directory,
            "nthreads": worker.state.nthreads,
            "memory_limit": worker.memory_manager.memory_limit,
            "status": worker.status.name,
            "task": worker.get_current_task(),
            "repr": repr(worker),
            "thread": threading.current_thread().name,
        }

    found = value_of(peer, look, key=("look", 1))
    assert found.pop("repr").startswith("<Worker 'tcp://127.0.0.1:2', name: alice")
    assert found.pop("thread").startswith("alice-Dask-Default-Threads")
    assert found == {
        "address": "tcp://127.0.0.1:2",
        "name": "alice",
        "nanny": "tcp://127.0.0.1:3",
        "scheduler": scheduler,
        "local_directory": peer.directory.name,
        "nthreads": 2,
        "memory_limit": 2**30,
        "status": "running",
        "task": ("look", 1),
    }


def test_local_directory_is_importable(peer):
    def look():
        return get_worker().local_directory in sys.path

    assert value_of(peer, look)


def test_threads_keep_their_locals(peer):
    def count():
        worker = get_worker()
        local = worker.__dict__.setdefault("cask_test_local", threading.local())
        local.count = getattr(local, "count", 0) + 1
        return threading.get_ident(), local.count

    seen = {}
    for _ in range(10):
        ident, number = value_of(peer, count)
        assert number == seen.get(ident, 0) + 1
        seen[ident] = number
    assert len(seen) <= 2


def answer_data(peer, handle, held):
    """Answer questions about `worker.data` until the task ends."""
    while True:
        message = peer.wait(channel.ASK, channel.DONE, channel.FAILED)
        if message.op != channel.ASK:
            assert message.handle == handle
            assert message.op == channel.DONE, message.traceback_text
            return
        if message.name == "data_keys":
            peer.answer(message, list(held))
        elif message.content[0] in held:
            peer.answer(message, held[message.content[0]])
        else:
            peer.answer(message, "not here", ok=False)


@pytest.fixture
def asking(scheduler):
    """One that asks its worker about data."""
    peer = Peer(scheduler=scheduler, data_keys=True)
    yield peer
    peer.close()


def test_worker_data(asking):
    peer = asking
    source = peer.put("put-key", 7)

    def look(_):
        data = get_worker().data
        data["own"] = "local"
        missing = [key for key in ("absent", "far", "own") if key not in data]
        try:
            data["absent"]
        except KeyError as error:
            missing.append(error.args[0])
        return data["own"], data["far"], sorted(k for k in data if k != "look-data"), missing

    handle = peer.run(Task("look-data", look, TaskRef("put-key")), [source])
    answer_data(peer, handle, {"far": (1, 2)})
    own, far, keys, missing = peer.fetch(handle)
    assert (own, far) == ("local", (1, 2))
    assert {"own", "far", "put-key"} <= set(keys)
    assert missing == ["absent", "absent"]


# ---- events, print, logs ----


def test_print_and_log_event(peer):
    def talk():
        from distributed import print as dask_print

        dask_print("hello", "client")
        get_worker().log_event("topic", {"n": 1})

    value_of(peer, talk)
    told = [m.content[0] for m in peer.events if m.op == channel.TELL and m.name == "to-scheduler"]
    assert [m["op"] for m in told] == ["log-event", "log-event"]
    assert told[0]["topic"] == "print"
    assert told[0]["msg"]["args"] == ("hello", "client")
    assert told[1]["topic"] == "topic"
    assert told[1]["msg"] == {"n": 1}


def test_warn(peer):
    def complain():
        from distributed import warn

        warn("careful", DeprecationWarning)

    value_of(peer, complain)
    told = next(m.content[0] for m in peer.events if m.op == channel.TELL)
    assert pickle.loads(told["msg"]["message"]) == "careful"
    assert pickle.loads(told["msg"]["category"]) is DeprecationWarning


def test_digest_metric(peer):
    def meter():
        get_worker().digest_metric(("p2p", "seconds"), 2.5)

    value_of(peer, meter)
    told = next(m for m in peer.events if m.op == channel.TELL)
    assert (told.name, told.content) == ("digest", (("p2p", "seconds"), 2.5))


# ---- clients ----


def increment(x):
    return x + 1


def test_get_client(peer):
    def submit():
        client = get_client()
        return client.submit(increment, 1).result(timeout=30)

    assert value_of(peer, submit) == 2


def test_worker_client_secedes_and_returns(peer):
    def submit():
        with worker_client() as client:
            futures = client.map(increment, range(5))
            return sum(client.gather(futures))

    assert value_of(peer, submit, key="submits") == 15
    assert [m.op for m in peer.events if m.op == channel.SECEDED] == [channel.SECEDED]
    assert value_of(peer, increment, 1) == 2


# ---- operations ----


def test_run(peer):
    def look(x, dask_worker):
        return x, dask_worker.address

    reply = peer.call(
        "run", function=cloudpickle.dumps(look), args=pickle.dumps((5,)), kwargs=pickle.dumps({})
    )
    assert reply == {"status": "OK", "result": (5, "tcp://127.0.0.1:2")}


def test_run_coroutine_and_error(peer):
    async def look(dask_worker):
        return dask_worker.name

    reply = peer.call("run", function=cloudpickle.dumps(look))
    assert reply["result"] == "alice"

    def fail():
        raise ValueError("from run")

    reply = peer.call("run", function=cloudpickle.dumps(fail))
    assert reply["status"] == "error"
    with pytest.raises(ValueError, match="from run"):
        kind, error, trace = clean_exception(**reply)
        raise error.with_traceback(trace)


def test_reply_that_cannot_be_sent(peer):
    reply = peer.call("run", function=cloudpickle.dumps(threading.Lock))
    assert reply["status"] == "uncaught-error"
    assert "lock" in reply["exception_text"]


def test_unknown_operation(peer):
    reply = peer.call("no_such_operation", x=1)
    assert reply["status"] == "uncaught-error"


def test_upload_file(peer):
    reply = peer.call("upload_file", filename="cask_uploaded.py", data=b"value = 42\n")
    assert reply == {"status": "OK", "nbytes": 11}

    def use():
        import cask_uploaded

        return cask_uploaded.value

    assert value_of(peer, use) == 42


def test_plugin(peer):
    class Plugin(WorkerPlugin):
        name = "mine"

        def setup(self, worker):
            worker.handlers["mine_double"] = self.double
            worker.stream_handlers["mine-note"] = self.note
            worker.mine = []

        def double(self, x):
            return 2 * x

        def note(self, text):
            get_noted().append(text)

        def teardown(self, worker):
            del worker.handlers["mine_double"]

    def get_noted():
        import distributed.worker

        return distributed.worker.__dict__.setdefault("cask_noted", [])

    assert peer.call("plugin-add", plugin=cloudpickle.dumps(Plugin()), name="mine")["status"] == "OK"
    told = next(m for m in peer.events if m.op == channel.TELL and m.name == "handlers")
    assert told.content == {
        "beats": False,
        "handlers": ("mine_double",),
        "stream_handlers": ("mine-note",),
        "transitions": False,
    }
    assert peer.call("mine_double", x=21) == 42
    peer.tell_stream("mine-note", text="hi")

    def look():
        return list(get_worker().plugins), get_noted()

    assert value_of(peer, look)[0] == ["mine"]
    assert peer.call("plugin-remove", name="mine")["status"] == "OK"
    assert peer.call("mine_double", x=1)["status"] == "uncaught-error"


def test_plugin_that_fails(peer):
    class Plugin(WorkerPlugin):
        def setup(self, worker):
            raise ValueError("no set-up")

    reply = peer.call("plugin-add", plugin=cloudpickle.dumps(Plugin()), name="bad")
    assert reply["status"] == "error"
    assert "no set-up" in reply["exception_text"]


def test_shuffle_plugin(peer):
    from distributed.shuffle._worker_plugin import ShuffleWorkerPlugin

    reply = peer.call("plugin-add", plugin=pickle.dumps(ShuffleWorkerPlugin()), name="shuffle")
    assert reply == {"status": "OK"}
    told = next(m for m in peer.events if m.op == channel.TELL and m.name == "handlers")
    assert {"shuffle_receive", "shuffle_inputs_done"} <= set(told.content["handlers"])
    assert "shuffle-fail" in told.content["stream_handlers"]
    assert told.content["beats"]
    assert peer.call("heartbeat_parts") == {"extensions": {"shuffle": {}}, "metrics": {}}

    def look():
        from distributed.shuffle._core import get_worker_plugin

        return str(get_worker_plugin())

    assert value_of(peer, look) == "ShuffleWorkerPlugin on tcp://127.0.0.1:2"


def test_versions_and_logs(peer):
    reply = peer.call("versions")
    assert reply["packages"]["distributed"]

    def complain():
        import logging

        logging.getLogger("distributed.worker").warning("a line for the logs")

    value_of(peer, complain)
    assert any("a line for the logs" in text for _, text in peer.call("get_logs", n=10))


# ---- actors ----


class Counter:
    n = 0

    def increment(self, by=1):
        self.n += by
        return self.n

    async def later(self):
        return self.n

    def fail(self):
        raise ValueError("actor")


def test_actor(peer):
    handle = peer.run(Task("counter", Counter), actor=True)
    done = peer.wait(channel.DONE, handle=handle)
    assert pickle.loads(done.type) is Counter
    reply = peer.call("actor_execute", actor="counter", function="increment", args=[5])
    assert reply["status"] == "OK"
    assert reply["result"] == 5
    assert peer.call("actor_execute", actor="counter", function="later")["result"] == 5
    assert peer.call("actor_attribute", actor="counter", attribute="n")["result"] == 5
    failed = peer.call("actor_execute", actor="counter", function="fail")
    assert failed["status"] == "error"
    assert str(failed["exception"]) == "actor"

    def use(counter):
        return type(counter).__name__, counter.key

    assert value_of(peer, use, TaskRef("counter"), inputs=[handle]) == ("Actor", "counter")
    peer.drop(handle)
    lost = peer.call("actor_execute", actor="counter", function="increment")
    assert lost["status"] == "uncaught-error"


# ---- executors of the user's own ----


def test_named_executors(peer):
    def add_executor(dask_worker):
        from concurrent.futures import ThreadPoolExecutor

        dask_worker.executors["mine"] = ThreadPoolExecutor(1, thread_name_prefix="mine")

    assert peer.call("run", function=cloudpickle.dumps(add_executor))["status"] == "OK"

    def name():
        get_worker()
        return threading.current_thread().name

    assert value_of(peer, name, annotations={"executor": "mine"}).startswith("mine")
    with pytest.raises(ValueError, match="Invalid executor 'none'; expected one of"):
        value_of(peer, name, annotations={"executor": "none"})


# ---- looking in ----


def wait_inside(path):
    wait_for_file(path)


def test_call_stack_and_profile(peer, tmp_path):
    handle = peer.run(Task("sleeper-1", wait_inside, str(tmp_path / "go")))
    peer.wait_until_running(handle)
    deadline = time.time() + 60
    while not (stacks := peer.call("call_stack", keys=None)) or "wait_inside" not in str(stacks):
        assert time.time() < deadline
    assert list(stacks) == ["sleeper-1"]
    while "wait_inside" not in str(profile := peer.call("profile")):
        assert time.time() < deadline
        time.sleep(0.1)
    assert profile["count"] > 0
    assert "cask/executor/tasks.py" not in str(profile)
    metadata = peer.call("profile_metadata")
    assert any("sleeper" in keys for _, keys in metadata["keys"])
    (tmp_path / "go").touch()
    peer.wait(channel.DONE, handle=handle)


def names_in(profile):
    """Of a tree's nodes, with what stands above each."""
    for child in profile["children"].values():
        name = child["description"]["name"]
        yield (name,)
        yield from ((name, *below) for below in names_in(child))


def sleep_and_sort(path):
    import numpy

    numbers = numpy.random.default_rng(1).random(300_000)
    while not os.path.exists(path):
        numpy.sort(numbers)
        time.sleep(0.01)


def test_native_frames_in_profiles(scheduler, tmp_path):
    """Below the Python frames that called them, with the setting that Dask has for it"""
    environment = {"DASK_DISTRIBUTED__WORKER__PROFILE__LOW_LEVEL": "true", "CASK_CRASH_LIBRARY": CRASH_LIBRARY}
    peer = Peer(scheduler=scheduler, environment=environment)
    try:
        handle = peer.run(Task("native-1", sleep_and_sort, str(tmp_path / "go")))
        peer.wait_until_running(handle)
        wanted = {"_multiarray_umath", "libc.so"}
        deadline = time.time() + 60
        while wanted:
            assert time.time() < deadline, f"no {wanted} in {profile}"
            time.sleep(0.2)
            profile = peer.call("profile")
            below = [names[names.index("sleep_and_sort") :] for names in names_in(profile) if "sleep_and_sort" in names]
            wanted = {library for library in wanted if not any(library in name for names in below for name in names)}
        root = next(iter(profile["children"].values()))
        assert root["count"] == profile["count"], "each sample is counted once"
        assert "pthread_" not in str(profile), "waiting for the profiler is no work"
        (tmp_path / "go").touch()
        peer.wait(channel.DONE, handle=handle)
    finally:
        peer.close()


def test_profiles_without_the_library_have_python_frames(scheduler, tmp_path):
    environment = {"DASK_DISTRIBUTED__WORKER__PROFILE__LOW_LEVEL": "true", "CASK_CRASH_LIBRARY": str(tmp_path / "none.so")}
    peer = Peer(scheduler=scheduler, environment=environment)
    try:
        handle = peer.run(Task("native-2", wait_inside, str(tmp_path / "go")))
        deadline = time.time() + 60
        while "wait_inside" not in str(profile := peer.call("profile")):
            assert time.time() < deadline
            time.sleep(0.1)
        assert "<low-level>" not in str(profile)
        (tmp_path / "go").touch()
        peer.wait(channel.DONE, handle=handle)
    finally:
        peer.close()


def test_profile_keeps_nothing_alive(peer):
    """What is in the frames that it looked at goes with them, without waiting for the collector"""

    def look(dask_worker):
        import gc
        import weakref

        class Thing:
            pass

        def inner():
            thing = Thing()
            dask_worker.trigger_profile()
            return weakref.ref(thing)

        gc.disable()
        try:
            return inner()() is None
        finally:
            gc.enable()

    assert peer.call("run", function=cloudpickle.dumps(look))["result"] is True


# ---- preload ----


def test_preload(tmp_path, scheduler):
    path = tmp_path / "cask_preloaded.py"
    path.write_text("def dask_setup(worker):\n    worker.preloaded = worker.name\n")
    peer = Peer(scheduler=scheduler, preload=[str(path)])
    try:
        assert peer.welcome.text == ""
        assert value_of(peer, lambda: get_worker().preloaded, key="look") == "alice"
    finally:
        peer.close()


def test_preload_that_fails(tmp_path, scheduler):
    path = tmp_path / "cask_bad_preload.py"
    path.write_text("raise ValueError('bad preload')\n")
    peer = Peer(scheduler=scheduler, preload=[str(path)])
    try:
        assert "bad preload" in peer.welcome.text
    finally:
        peer.close()
