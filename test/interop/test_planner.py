"""The planner beside a scheduler: its death and what comes back, settings, policies, what users may do in it."""

import asyncio
import os
import signal
import sys
import time

import dask.bag
import pytest
from dask import delayed
from distributed import SchedulerPlugin
from distributed.active_memory_manager import ActiveMemoryManagerPolicy
from distributed.comm import connect as connect_comm
from distributed.protocol.pickle import dumps
from harness import Scheduler, eventually
from tasks import inc


@pytest.fixture(autouse=True)
def only_cask(kind):
    if kind == "stock":
        pytest.skip("stock has no planner: functions run in the scheduler itself")


def planner_of(client):
    """Its process id"""
    return client.run_on_scheduler(os.getpid)


def kill_planner(cluster, client):
    """Returns when the scheduler has noticed"""
    pid = planner_of(client)
    os.kill(pid, signal.SIGKILL)
    eventually(lambda: f"(process {pid}) was ended" in cluster.scheduler.log(), 20)


# ---- its end ----


class Watching(SchedulerPlugin):
    """Notes the tasks that are done, on the scheduler that it was started with"""

    name = "watching"

    async def start(self, scheduler):
        self.done = []
        scheduler.watching = self

    def transition(self, key, start, finish, *args, stimulus_id, **kwargs):
        if finish == "memory":
            self.done.append(key)


def watched(dask_scheduler):
    return list(dask_scheduler.watching.done)


def test_plugins_come_back(make_cluster, connect):
    cluster = make_cluster("a")
    client = connect(cluster)
    client.register_plugin(Watching())
    client.run_on_scheduler(lambda dask_scheduler: dask_scheduler.add_plugin(SchedulerPlugin(), name="added"))
    first = planner_of(client)
    assert client.submit(inc, 1, key="before").result() == 2
    eventually(lambda: client.run_on_scheduler(watched) == ["before"])
    kill_planner(cluster, client)
    eventually(lambda: "watching: loaded again" in cluster.scheduler.log(), 20)  # nobody has asked
    assert client.submit(inc, 1, key="after").result() == 2
    eventually(lambda: client.run_on_scheduler(watched) == ["after"])
    assert planner_of(client) != first
    log = cluster.scheduler.log()
    assert "ended by signal 9 (Killed): out of memory?" in log
    assert "Scheduler plugins that functions had added were lost with it: added" in log

    client.unregister_scheduler_plugin("watching")
    kill_planner(cluster, client)
    assert client.run_on_scheduler(lambda dask_scheduler: list(dask_scheduler.plugins)) == []


def test_preloads_come_back(make_cluster, connect, tmp_path):
    preload = tmp_path / "interop_preload_again.py"
    preload.write_text("def dask_setup(scheduler):\n    scheduler.handlers['ping'] = lambda: 'pong'\n")
    cluster = make_cluster(scheduler_options=["--preload", str(preload)])
    client = connect(cluster)
    eventually(lambda: client.sync(client.scheduler.ping) == "pong")
    kill_planner(cluster, client)
    eventually(lambda: "preload modules: loaded again" in cluster.scheduler.log(), 20)
    eventually(lambda: client.sync(client.scheduler.ping) == "pong")


def test_what_is_under_way_fails_with_the_reason(make_cluster, connect):
    cluster = make_cluster("a")
    client = connect(cluster)

    async def for_ever():
        await asyncio.sleep(60)

    waiting = client.run_on_scheduler(for_ever, wait=False)
    assert waiting is None
    with pytest.raises(RuntimeError, match="ended with status 9"):
        client.run_on_scheduler(os._exit, 9)
    with pytest.raises(RuntimeError, match="ended with status 8"):
        dask.bag.from_sequence([Deadly()]).compute(scheduler=client)
    assert planned(client) == [2, 3]


def planned(client):
    """Of a graph that the planner makes"""
    return dask.bag.from_sequence([1, 2]).map(inc).compute(scheduler=client)


class Deadly:
    """Ends the process that unpickles it: the planner"""

    def __reduce__(self):
        return os._exit, (8,)

    def __dask_tokenize__(self):
        return "Deadly"


def test_a_feed_ends_with_the_reason(make_cluster, connect):
    """A feed's reader gets the error as its next message, then the end of the connection"""
    cluster = make_cluster()
    client = connect(cluster)

    async def read_feed():
        comm = await connect_comm(cluster.address)
        function = dumps(lambda scheduler: len(scheduler.workers))
        await comm.write({"op": "feed", "function": function, "interval": "20ms", "reply": True})
        assert await comm.read() == 0
        await asyncio.to_thread(kill_planner, cluster, client)
        while (message := await comm.read()) == 0:
            pass
        await comm.close()
        return message

    message = asyncio.run(read_feed())
    assert message["status"] == "uncaught-error"
    assert "ended by signal 9" in message["exception_text"]


def test_a_planner_that_cannot_start(tmp_path, connect):
    """The cause is named each time; after a few times nothing is tried for a while"""
    broken = tmp_path / "python3"
    broken.write_text("#!/bin/sh\necho \"ModuleNotFoundError: No module named 'dask'\" >&2\nexit 1\n")
    broken.chmod(0o755)
    scheduler = Scheduler(env={"CASK_PYTHON": str(broken)})
    try:
        client = connect(scheduler)
        for _ in range(3):
            with pytest.raises(RuntimeError, match="ended with status 1(.|\n)*No module named 'dask'"):
                client.run_on_scheduler(abs, -1)
        with pytest.raises(RuntimeError, match="3 planners in a row(.|\n)*No module named 'dask'"):
            client.run_on_scheduler(abs, -1)
        # what needs no Python goes on
        assert client.scheduler_info()["workers"] == {}
    finally:
        scheduler.close()


# ---- settings ----


def test_settings_of_the_command_line_reach_it(make_cluster, connect):
    env = {"DASK_DISTRIBUTED__SCHEDULER__IDLE_TIMEOUT": "1h", "DASK_INTEROP__SET": "(1, 'two')"}
    cluster = make_cluster(scheduler_options=["--idle-timeout", "2h"], env=env)
    client = connect(cluster)

    def settings():
        import dask

        return dask.config.get("distributed.scheduler.idle-timeout"), dask.config.get("interop.set")

    assert client.run_on_scheduler(settings) == ("2h", (1, "two"))


# ---- the memory manager's policies ----


class KeepTwo(ActiveMemoryManagerPolicy):
    """Every result on `count` workers, exactly"""

    def __init__(self, count):
        self.count = count

    def run(self):
        for ts in list(self.manager.scheduler.tasks.values()):
            if ts.state == "memory":
                for _ in range(self.count - len(ts.who_has)):
                    yield "replicate", ts
                for _ in range(len(ts.who_has) - self.count):
                    yield "drop", ts


def holders(client, future):
    return len(client.who_has(future)[future.key])


def policy_environment(policy):
    here = os.path.dirname(os.path.abspath(__file__))
    return {
        "DASK_DISTRIBUTED__SCHEDULER__ACTIVE_MEMORY_MANAGER__POLICIES": repr([policy]),
        "DASK_DISTRIBUTED__SCHEDULER__ACTIVE_MEMORY_MANAGER__INTERVAL": "200ms",
        "PYTHONPATH": os.pathsep.join([here, *filter(None, [os.environ.get("PYTHONPATH")])]),
    }


def test_policy_in_python(make_cluster, connect):
    env = policy_environment({"class": "test_planner.KeepTwo", "count": 2})
    cluster = make_cluster("a", "b", "c", env=env)
    client = connect(cluster)
    future = client.submit(inc, 1)
    eventually(lambda: holders(client, future) == 2, message="it replicates")
    client.replicate(future, 3)
    eventually(lambda: holders(client, future) == 2, message="it drops")
    client.amm.stop()
    assert not client.amm.running()
    client.replicate(future, 3)
    time.sleep(0.5)  # more than two intervals
    assert holders(client, future) == 3
    client.amm.run_once()
    eventually(lambda: holders(client, future) == 2)
    client.amm.start()
    kill_planner(cluster, client)
    eventually(lambda: "memory manager's policies: loaded again" in cluster.scheduler.log(), 20)
    client.replicate(future, 3)
    eventually(lambda: holders(client, future) == 2, message="it goes on in the next planner")


def test_policy_that_does_not_exist_ends_the_scheduler(tmp_path):
    """As stock's, which does not start"""
    scheduler = Scheduler(env=policy_environment({"class": "no_such_module.Policy"}))
    try:
        assert scheduler.wait(20) == 1
        assert "No module named 'no_such_module'" in scheduler.log()
    finally:
        scheduler.close()


# ---- what functions may do ----


def test_retire_by_a_function_of_users(make_cluster, connect):
    """Workers of one group go together: the group's total decides"""
    cluster = make_cluster("a-1", "a-2", "b-1")
    client = connect(cluster)
    retired = client.retire_workers(key=lambda ws: ws.name.partition("-")[0], n=2, close_workers=True)
    names = {info["name"] for info in retired.values()}
    assert names in ({"a-1", "a-2"}, {"b-1"})
    eventually(lambda: set(cluster.addresses()) == {"a-1", "a-2", "b-1"} - names)


def test_functions_change_what_has_a_method(client, a):
    """Methods act on the scheduler; attributes stay; state is for reading"""

    async def change(dask_scheduler, address):
        dask_scheduler.mine = 1
        dask_scheduler.log_event("interop", "from a function")
        dask_scheduler.set_metadata(keys=["interop"], value=5)
        ws = dask_scheduler.workers[address]
        return ws.status.name, dask_scheduler.mine

    assert client.run_on_scheduler(change, address=a) == ("running", 1)
    assert client.get_metadata("interop") == 5
    assert [event for _, event in client.get_events("interop")] == ["from a function"]

    def meddle(dask_scheduler):
        try:
            dask_scheduler.tasks["x"] = 1
        except TypeError as error:
            return str(error)

    assert "does not support item assignment" in client.run_on_scheduler(meddle)

    def assign(dask_scheduler, address):
        dask_scheduler.workers[address].nthreads = 99

    with pytest.raises(AttributeError, match="read"):
        client.run_on_scheduler(assign, address=a)
    assert client.scheduler_info()["workers"][a]["nthreads"] == 1

    def shadow(dask_scheduler):
        dask_scheduler.total_nthreads = 99

    with pytest.raises(AttributeError, match="for reading"):
        client.run_on_scheduler(shadow)


def test_async_functions_and_their_errors(client):
    async def fails(dask_scheduler):
        await asyncio.sleep(0)
        raise KeyError(dask_scheduler.id)

    with pytest.raises(KeyError, match="Scheduler-"):
        client.run_on_scheduler(fails)

    async def first(dask_scheduler):
        dask_scheduler.turn = asyncio.Event()
        await dask_scheduler.turn.wait()
        return "waited"

    async def second(dask_scheduler):
        dask_scheduler.turn.set()

    import threading

    results = []
    thread = threading.Thread(target=lambda: results.append(client.run_on_scheduler(first)))
    thread.start()
    eventually(lambda: client.run_on_scheduler(lambda dask_scheduler: hasattr(dask_scheduler, "turn")))
    client.run_on_scheduler(second)  # two functions at once, on one loop
    thread.join(10)
    assert results == ["waited"]
    client.run_on_scheduler(lambda dask_scheduler: delattr(dask_scheduler, "turn"))


def test_programs_of_futures_start_no_python(make_cluster, connect):
    cluster = make_cluster("a")
    client = connect(cluster)
    assert client.gather(client.map(inc, range(10))) == list(range(1, 11))
    assert client.submit(sum, client.map(inc, range(3))).result() == 6

    assert delayed(sum)([delayed(inc)(i) for i in range(3)]).compute(scheduler=client) == 6
    assert children(cluster.scheduler) == []
    assert planned(client) == [2, 3]
    assert len(children(cluster.scheduler)) == 1


def test_a_graph_that_cannot_be_cut_is_asked_for_again(make_cluster, connect):
    """A class that comes by value and runs code when an instance is loaded: the reader in C leaves that to Python"""

    class Hooked:
        def __init__(self, value):
            self.value = value

        def __getstate__(self):
            return self.value

        def __setstate__(self, value):
            self.value = value + 1

        def __dask_tokenize__(self):
            return "Hooked", self.value

    client = connect(make_cluster("a"))
    bag = dask.bag.from_sequence([Hooked(1), Hooked(5)], npartitions=2).map(lambda hooked: hooked.value > 1)
    assert bag.compute(scheduler=client) == [True, True]
    assert client.sync(client.scheduler.planner_status)["graphs"] == 1


def test_status(make_cluster, connect):
    cluster = make_cluster("a")
    client = connect(cluster)

    def status():
        return client.sync(client.scheduler.planner_status)

    first = status()
    assert first == {"python": sys.executable, "graphs": 0, "tasks": 0, "seconds": 0, "open": 0}
    assert planned(client) == [2, 3]
    second = status()
    assert second["graphs"] == 1 and second["tasks"] >= 2 and second["open"] == 0
    assert 0 < second["seconds"] < second["up"]
    assert children(cluster.scheduler) == [str(second["pid"])]
    assert second["resident"] > 10 << 20 and second["cpu"] > 0


# ---- ahead of need ----


def children(scheduler):
    with open(f"/proc/{scheduler.pid}/task/{scheduler.pid}/children") as file:
        return file.read().split()


def ahead(folder, source):
    """Settings with which planners import a module of this source before anything is asked of them"""
    (folder / "interop_ahead.py").write_text(f"import os, pathlib, time\nhere = pathlib.Path({str(folder)!r})\n{source}")
    path = [os.path.dirname(os.path.abspath(__file__)), str(folder), os.environ.get("PYTHONPATH")]
    return {
        "DASK_CASK__PLANNER__PREWARM": "['interop_ahead', 'no_such_module', 'bisect']",
        "PYTHONPATH": os.pathsep.join(filter(None, path)),
    }


UNTIL_TOLD = """
(here / "began").touch()
while not (here / "go").exists():
    time.sleep(0.01)
"""


def test_a_planner_is_ready_before_the_first_graph(make_cluster, connect, tmp_path):
    cluster = make_cluster("a", env=ahead(tmp_path, "(here / str(os.getpid())).touch()"))
    assert children(cluster.scheduler) == []  # nobody is there who could send a graph
    client = connect(cluster)
    (planner,) = eventually(lambda: children(cluster.scheduler))
    eventually((tmp_path / planner).exists)
    connect(cluster)
    assert planned(client) == [2, 3]
    assert children(cluster.scheduler) == [planner]


def test_the_client_leaves_before_the_planner_is_ready(make_cluster, connect, tmp_path):
    cluster = make_cluster("a", env=ahead(tmp_path, UNTIL_TOLD))
    first = connect(cluster)
    eventually((tmp_path / "began").exists)
    first.close()
    second = connect(cluster)
    (planner,) = children(cluster.scheduler)
    (tmp_path / "go").touch()
    assert planned(second) == [2, 3]
    assert children(cluster.scheduler) == [planner]


def test_the_scheduler_ends_before_the_planner_is_ready(connect, tmp_path):
    scheduler = Scheduler(env=ahead(tmp_path, UNTIL_TOLD))
    try:
        connect(scheduler)
        eventually((tmp_path / "began").exists)
        (planner,) = children(scheduler)
    finally:
        scheduler.close()
    eventually(lambda: not os.path.exists(f"/proc/{planner}"))


def test_a_planner_that_ends_before_it_is_asked(make_cluster, connect, tmp_path):
    """It is no failure of anyone's request; clients that come later start no other"""
    cluster = make_cluster("a", env=ahead(tmp_path, "(here / str(os.getpid())).touch(); os._exit(7)"))
    client = connect(cluster)
    eventually(lambda: "Nothing had been asked of it" in cluster.scheduler.log(), 20)
    assert "ended with status 7" in cluster.scheduler.log()
    connect(cluster)
    assert children(cluster.scheduler) == []
    assert planned(client) == [2, 3]  # the next one is asked at once
    assert len(children(cluster.scheduler)) == 1
    assert len([name for name in os.listdir(tmp_path) if name.isdigit()]) == 1


def test_without_a_python_that_has_dask(tmp_path, connect):
    """Said once; then each request is told, as if nothing had been tried ahead"""
    broken = tmp_path / "python3"
    broken.write_text("#!/bin/sh\necho \"ModuleNotFoundError: No module named 'dask'\" >&2\nexit 1\n")
    broken.chmod(0o755)
    scheduler = Scheduler(env={"CASK_PYTHON": str(broken), "DASK_CASK__PLANNER__PREWARM": "True"})
    try:
        client = connect(scheduler)
        eventually(lambda: "Nothing had been asked of it" in scheduler.log(), 20)
        connect(scheduler)
        for _ in range(3):
            with pytest.raises(RuntimeError, match="ended with status 1(.|\n)*No module named 'dask'"):
                client.run_on_scheduler(abs, -1)
        assert scheduler.log().count("Nothing had been asked of it") == 1
    finally:
        scheduler.close()
