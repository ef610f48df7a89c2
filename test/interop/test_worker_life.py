"""How cask workers come and go: retired, restarted, closed, killed, without a scheduler."""

from __future__ import annotations

import logging
import os
import shlex
import subprocess
import time

import pytest
from distributed import Client, WorkerPlugin, get_worker, wait

import harness
from worker_clusters import make_cluster, start_cask  # noqa: F401  (a fixture)


def inc(x):
    return x + 1


def slow_inc(x):
    time.sleep(0.05)
    return x + 1


def test_restart(make_cluster):
    """All tasks go, the process and its nanny stay, executors are new"""
    cluster = make_cluster("alice", nthreads=2, nanny=True)
    with Client(cluster.address, timeout=20) as client:
        before = cluster.addresses()["alice"]
        pid = client.submit(os.getpid, pure=False).result()
        future = client.submit(inc, 1)
        wait(future)
        nanny = cluster.infos()["alice"]["nanny"]
        client.restart(timeout=60)
        assert future.status == "cancelled"
        after = cluster.addresses()["alice"]
        assert after != before and cluster.infos()["alice"]["nanny"] == nanny
        assert client.submit(os.getpid, pure=False).result(timeout=60) != pid
        assert client.submit(inc, 1).result(timeout=60) == 2
        assert cluster.workers["alice"].alive


def test_restart_one_of_two(make_cluster):
    cluster = make_cluster("alice", "bob", nanny=True)
    with Client(cluster.address, timeout=20) as client:
        before = cluster.addresses()
        assert client.restart_workers([before["alice"]], timeout=60) == {before["alice"]: "OK"}
        after = harness.eventually(lambda: len(found := cluster.addresses()) == 2 and found)
        assert after["bob"] == before["bob"] and after["alice"] != before["alice"]
        assert client.gather(client.map(inc, range(20))) == list(range(1, 21))


def test_retire_moves_the_data(make_cluster):
    cluster = make_cluster("alice", "bob")
    with Client(cluster.address, timeout=20) as client:
        future = client.submit(inc, 1, workers="alice", allow_other_workers=True)
        only = client.scatter({"only": 7}, workers=[cluster.addresses()["alice"]])["only"]
        wait(future)
        client.retire_workers([cluster.addresses()["alice"]], close_workers=True)
        assert cluster.workers["alice"].wait(20) == 0
        assert only.result(timeout=20) == 7
        assert future.result(timeout=20) == 2


def test_terminate_is_orderly(make_cluster):
    """A signal ends it with code 0; its tasks are done elsewhere"""
    cluster = make_cluster("alice", "bob")
    with Client(cluster.address, timeout=20) as client:
        futures = client.map(slow_inc, range(60))
        harness.eventually(lambda: any(future.done() for future in futures))
        worker = cluster.workers["alice"]
        worker.popen.terminate()
        assert worker.wait(20) == 0
        assert client.gather(futures) == list(range(1, 61))


def test_killed_worker(make_cluster):
    cluster = make_cluster("alice", "bob")
    with Client(cluster.address, timeout=20) as client:
        futures = client.map(slow_inc, range(60))
        harness.eventually(lambda: any(future.done() for future in futures))
        cluster.workers["bob"].popen.kill()
        assert client.gather(futures) == list(range(1, 61))


def test_lifetime(make_cluster):
    """It retires, then ends, or begins anew"""
    cluster = make_cluster("short", options=["--lifetime", "8s"])
    start_cask(cluster, "again", nanny=True, options=["--lifetime", "8s", "--lifetime-restart"])
    before = cluster.addresses()["again"]
    assert cluster.workers["short"].wait(30) == 0
    harness.eventually(lambda: cluster.addresses().get("again", before) != before)
    assert cluster.workers["again"].alive


def test_pause(make_cluster):
    """A paused worker finishes what runs and starts nothing; with a memory limit the worker itself would go on"""
    cluster = make_cluster("alice", "bob", memory="0")

    def pause():
        get_worker().status = type(get_worker().status).paused

    with Client(cluster.address, timeout=20) as client:
        client.submit(pause, workers="alice").result()
        harness.eventually(lambda: cluster.infos()["alice"]["status"] == "paused")
        futures = client.map(inc, range(20), pure=False)
        assert client.gather(futures) == list(range(1, 21))
        bob = cluster.infos()["bob"]
        holders = {h for held in client.who_has(futures).values() for h in held}
        assert len(holders) == 1 and client.run(lambda dask_worker: dask_worker.name, workers=list(holders)) == {
            next(iter(holders)): bob["name"]
        }


def test_close_by_user_code(make_cluster):
    cluster = make_cluster("alice")
    with Client(cluster.address, timeout=20) as client:

        def leave():
            worker = get_worker()
            worker.loop.add_callback(worker.close, reason="asked to")

        future = client.submit(leave)
        assert cluster.workers["alice"].wait(20) == 0
        future.cancel()


def test_lost_scheduler(make_cluster):
    cluster = make_cluster("alice")
    cluster.scheduler.kill()
    assert cluster.workers["alice"].wait(20) == 0


def run_worker(*arguments):
    return subprocess.run(
        [*shlex.split(harness.CASK_WORKER), *arguments],
        env=harness.clean_environment(),
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_death_timeout():
    """Without a scheduler it gives up"""
    address = f"tcp://127.0.0.1:{harness.free_port()}"
    ended = run_worker(
        address, "--death-timeout", "1s", "--nthreads", "1"
    )
    assert ended.returncode == 1
    assert "No scheduler" in ended.stderr


@pytest.mark.parametrize(
    "arguments, said",
    [
        ([], "which scheduler"),
        (["tcp://127.0.0.1:1", "--nthreads", "many"], "--nthreads"),
        (["tcp://127.0.0.1:1", "--memory-limit", "lots"], "--memory-limit"),
        (["tcp://127.0.0.1:1", "--resources", "GPU"], "--resources"),
        (["tcp://127.0.0.1:1", "--nworkers", "0"], "--nworkers"),
        (["nonsense:"], "not an address"),
        (["tcp://127.0.0.1:1", "--protocol", "unix"], "user code cannot connect"),
        (["unix:///nowhere"], "user code cannot connect"),
        (["tcp://127.0.0.1:1", "--worker-port", "10:5"], "not a port"),
        (["tcp://127.0.0.1:1", "--lifetime", "soon"], "not a duration"),
        (["tcp://127.0.0.1:1", "argument"], "--preload"),
    ],
)
def test_wrong_command_lines(arguments, said):
    ended = run_worker(*arguments)
    assert ended.returncode in (1, 2)
    assert said in ended.stderr


def test_several_workers(make_cluster):
    """--nworkers: names are numbered; a signal to the parent ends them all"""
    cluster = make_cluster("many", wait=False, options=["--nworkers", "2"])
    cluster.wait_for("many-0", "many-1")
    parent = cluster.workers["many"]
    parent.popen.terminate()
    assert parent.wait(20) == 0
    harness.eventually(lambda: not cluster.addresses())


def test_resources(make_cluster):
    cluster = make_cluster("alice", nthreads=2, options=["--resources", "GPU=1"])
    with Client(cluster.address, timeout=20) as client:

        def one_at_a_time(_):
            worker = get_worker()
            running = worker.__dict__.setdefault("cask_test_running", [])
            running.append(1)
            count = len(running)
            time.sleep(0.01)
            running.pop()
            return count

        futures = client.map(one_at_a_time, range(10), resources={"GPU": 1}, pure=False)
        assert client.gather(futures) == [1] * 10


def test_resources_set_later(make_cluster):
    """By user code in the worker: the scheduler and the worker go by it; a restart forgets it"""
    cluster = make_cluster("alice", nthreads=2, nanny=True, options=["--resources", "GPU=1"])
    with Client(cluster.address, timeout=20) as client:

        async def give(dask_worker):
            await dask_worker.set_resources(LICENCE=3, GPU=2)
            return dict(dask_worker.state.total_resources)

        assert list(client.run(give).values()) == [{"GPU": 2, "LICENCE": 3}]
        assert cluster.infos()["alice"]["resources"] == {"GPU": 2, "LICENCE": 3}
        assert client.submit(inc, 1, resources={"LICENCE": 3}).result(timeout=20) == 2
        assert client.submit(inc, 2, resources={"GPU": 2}).result(timeout=20) == 3
        client.restart(timeout=60)
        assert cluster.infos()["alice"]["resources"] == {"GPU": 1}


class Listening(WorkerPlugin):
    """Hears of every move of a task"""

    name = "listening"

    def setup(self, worker):
        worker.moves = self.moves = []

    def transition(self, key, start, finish, **kwargs):
        self.moves.append((key, start, finish))
        if key == "bad":
            raise ValueError("what a plugin raises disturbs nobody")


def test_transitions(make_cluster):
    """Worker plugins that listen get each move, by stock's names of states"""
    cluster = make_cluster("alice")
    with Client(cluster.address, timeout=20) as client:
        client.submit(inc, 0, key="before").result()
        client.register_plugin(Listening())
        one = client.submit(inc, 1, key=("one", 1))
        two = client.submit(inc, one, key="two")
        bad = client.submit(inc, "x", key="bad")
        wait([two, bad])
        del one, two, bad

        def heard():
            (moves,) = client.run(lambda dask_worker: dask_worker.moves).values()
            of = {key: [move[1:] for move in moves if move[0] == key] for key in ("bad", ("one", 1), "two")}
            assert of["bad"][:4] == [("released", "waiting"), ("waiting", "ready"), ("ready", "executing"), ("executing", "error")]
            for key in (("one", 1), "two"):
                assert of[key][:4] == [("released", "waiting"), ("waiting", "ready"), ("ready", "executing"), ("executing", "memory")]
                assert of[key][-1] == ("released", "forgotten")
            assert not any(move[0] == "before" and move[2] != "forgotten" and move[1] == "executing" for move in moves)
            return True

        harness.eventually(heard, 20)
        client.unregister_worker_plugin("listening")
        (before,) = client.run(lambda dask_worker: len(dask_worker.moves)).values()
        client.submit(inc, 5).result()
        assert list(client.run(lambda dask_worker: len(dask_worker.moves)).values()) == [before]


def test_restart_that_takes_too_long(make_cluster, tmp_path):
    """restart(timeout=…) says so; the worker comes when it is ready"""
    script = tmp_path / "slow.py"
    script.write_text(
        "import os, time\n"
        "def dask_setup(worker):\n"
        f"    while os.path.exists({str(tmp_path / 'wait')!r}):\n"
        "        time.sleep(0.01)\n"
    )
    cluster = make_cluster("alice", nanny=True, options=["--preload", str(script)])
    with Client(cluster.address, timeout=20) as client:
        nanny = cluster.infos()["alice"]["nanny"]
        (tmp_path / "wait").touch()
        with pytest.raises(TimeoutError):
            client.restart(timeout=1.5)
        assert harness.ask(nanny, "restart", timeout=0.2) == "timed out"
        (tmp_path / "wait").unlink()
        harness.eventually(lambda: "alice" in cluster.addresses())
        assert client.submit(inc, 1).result(timeout=20) == 2


def test_restart_without_waiting(make_cluster):
    cluster = make_cluster("alice", nanny=True)
    with Client(cluster.address, timeout=20) as client:
        before = cluster.addresses()["alice"]
        client.restart(timeout=60, wait_for_workers=False)
        harness.eventually(lambda: cluster.addresses().get("alice", before) != before)
        assert client.submit(inc, 1).result(timeout=20) == 2


def speak():
    for level in (logging.INFO, logging.WARNING):
        logging.getLogger("my.library").log(level, "the library says %d", level)
        logging.getLogger("distributed.worker").log(level, "the worker says %d", level)


@pytest.mark.parametrize(
    "settings",
    [
        "logging: {distributed: warning, my.library: info}",
        "logging: {version: 1, handlers: {console: {class: logging.StreamHandler}},"
        " loggers: {distributed: {level: WARNING, handlers: [console]}, my.library: {level: INFO, handlers: [console]}}}",
    ],
    ids=["levels", "dictConfig"],
)
def test_logging_by_settings(tmp_path, settings):
    """Loggers of user code, in executors and in the nanny's Python, are as the settings say"""
    (tmp_path / "logging.yaml").write_text(settings)
    cluster = harness.Cluster()
    try:
        start_cask(cluster, "alice", nanny=True, env={"DASK_CONFIG": str(tmp_path)})
        with Client(cluster.address, timeout=20) as client:
            client.submit(speak).result()
            client.run(speak, nanny=True)

            def written():
                log = cluster.workers["alice"].log()
                assert log.count("the library says 20") == log.count("the library says 30") == 2
                assert log.count("the worker says 30") == 2 and "the worker says 20" not in log
                return True

            harness.eventually(written)
    finally:
        cluster.close()


def test_preload(make_cluster, tmp_path):
    script = tmp_path / "before.py"
    script.write_text("def dask_setup(worker):\n    worker.preloaded = 'yes'\n")
    cluster = make_cluster("alice", options=["--preload", str(script)])
    with Client(cluster.address, timeout=20) as client:
        assert list(client.run(lambda dask_worker: dask_worker.preloaded).values()) == ["yes"]


def test_short_tasks_behind_a_long_one(make_cluster, tmp_path):
    """A worker gives an executor short tasks before it has a thread for them; one of them may not be short"""
    cluster = make_cluster("alice")
    gate = tmp_path / "gate"

    def mixed(path, number):
        while path is not None and not os.path.exists(path):
            time.sleep(0.01)
        return number

    with Client(cluster.address, timeout=20) as client:
        wait(client.map(mixed, [None] * 50, range(50), pure=False))
        slow = client.submit(mixed, str(gate), -1, pure=False, priority=1)
        quick = client.map(mixed, [None] * 50, range(50), pure=False)
        (alice,) = cluster.addresses().values()

        def executing():
            tasks = harness.ask(alice, "dump_state")["tasks"].values()
            return [task["key"] for task in tasks if task["state"] == "executing"]

        harness.eventually(lambda: executing() == [slow.key])
        gate.touch()
        assert client.gather([slow, *quick], direct=False) == [-1, *range(50)]
