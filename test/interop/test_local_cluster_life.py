"""How the processes of a cask.LocalCluster begin and end: killed, replaced, lost, and left behind by their Python."""

import gc
import os
import signal
import subprocess
import sys
import textwrap
import threading

import psutil
import pytest
from distributed.core import Status
from distributed.utils_test import captured_logger

from cask import Client, LocalCluster
from cask.local_cluster.environment import find_program
from harness import ROOT, clean_environment, eventually
from tasks import inc


@pytest.fixture
def program(tmp_path):
    """program(code) → a Python that runs it, in a directory of its own; killed with the test"""
    running = []

    def start(code):
        (tmp_path / "program.py").write_text(textwrap.dedent(code))
        popen = subprocess.Popen(
            [sys.executable, "-Wi", "program.py"],
            cwd=tmp_path,
            env=clean_environment({"PYTHONPATH": f"{ROOT}/python", "TMPDIR": str(tmp_path)}),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        running.append(popen)
        return popen

    yield start
    for popen in running:
        popen.kill()
        popen.communicate()


def family(pid):
    return psutil.Process(pid).children(recursive=True)


def all_gone(processes):
    return not [p for p in processes if p.is_running() and p.status() != psutil.STATUS_ZOMBIE]


BUSY = """
    import os, signal, sys, time
    from cask import Client, LocalCluster
    signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever runs the tests may ignore them
    signal.signal(signal.SIGHUP, signal.SIG_DFL)
    cluster = LocalCluster(n_workers=2, threads_per_worker=1)
    client = Client(cluster)
    futures = client.map(lambda x: x + 1, range(20))
    client.gather(futures)
    blockers = client.map(time.sleep, [600, 601])
    print("ready", flush=True)
    sys.stdin.readline()
"""


def ready(popen):
    assert popen.stdout.readline() == "ready\n"
    found = family(popen.pid)
    names = {" ".join(p.cmdline()) for p in found}
    assert sum(" scheduler " in name for name in names) == 1, names
    assert sum(" worker " in name for name in names) == 2, names
    return found


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_python_is_killed(program, tmp_path, number):
    """Nothing of its cluster stays: no process, no file"""
    popen = program(BUSY)
    processes = ready(popen)
    popen.send_signal(number)
    popen.wait(30)
    eventually(lambda: all_gone(processes), 30, "the cluster's processes have ended")
    assert [p.name for p in tmp_path.glob("cask-*")] == []
    assert [p.name for p in tmp_path.glob("dask-scratch-space/worker-*")] == []


def test_python_ends_without_closing(program):
    popen = program(BUSY)
    processes = ready(popen)
    popen.stdin.write("\n")
    popen.stdin.flush()
    assert popen.wait(30) == 0
    eventually(lambda: all_gone(processes), 30, "the cluster's processes have ended")


def test_the_thread_that_made_it_ends():
    """A cluster belongs to the process"""
    made = []
    thread = threading.Thread(target=lambda: made.append(LocalCluster(n_workers=1, threads_per_worker=1)))
    thread.start()
    thread.join()
    with made[0] as cluster, Client(cluster) as client:
        assert client.submit(inc, 1).result() == 2


def test_fork(program):
    """A fork is no owner: its end, with or without Python's own clean-up, leaves the cluster alone"""
    popen = program(
        """
        import os, sys
        from cask import Client, LocalCluster
        cluster = LocalCluster(n_workers=1, threads_per_worker=1)
        client = Client(cluster)
        pid = os.fork()
        if pid == 0:
            del client
            cluster.close()
            sys.exit(3)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 3
        assert client.submit(sum, [1, 2]).result() == 3
        print("fine", flush=True)
        client.close()
        cluster.close()
        """
    )
    assert popen.communicate(timeout=60)[0] == "fine\n"
    assert popen.returncode == 0


def test_two_cycles_leave_nothing():
    before = {p.pid for p in family(os.getpid())}
    secrets = []
    for _ in range(2):
        with LocalCluster(n_workers=1, threads_per_worker=1, security=True) as cluster, Client(cluster) as client:
            assert client.submit(inc, 1).result() == 2
            assert set(cluster.scheduler.workers) == set(client.nthreads())
            secrets += cluster._secrets.files.values()
    assert {p.pid for p in family(os.getpid())} == before
    assert "cask-inspection" not in {thread.name for thread in threading.enumerate()}
    del cluster, client
    gc.collect()
    assert secrets and not any(os.path.exists(path) for path in secrets)


def test_a_worker_is_killed():
    """Its place is taken by another with the same name; what it had is computed again"""
    with LocalCluster(n_workers=2, threads_per_worker=1) as cluster, Client(cluster) as client:
        futures = client.map(inc, range(10))
        client.gather(futures)
        worker = cluster.workers[0]
        killed, address = worker.process.pid, worker.process.worker_address  # where tutorials look for them
        with captured_logger("distributed.deploy.local") as log:
            os.kill(killed, signal.SIGKILL)
            eventually(lambda: worker.pid not in (None, killed) and worker.address != address)
        assert log.getvalue() == "worker 0 was killed by SIGKILL; it is started again\n"
        client.wait_for_workers(2)
        assert client.gather(futures) == list(range(1, 11))
        assert {w.name for w in cluster.scheduler.workers.values()} == {0, 1}
        assert len(cluster.workers) == 2


def test_user_code_kills_its_executor():
    """What `os.getpid` says in a task is the process of user code: the worker stays"""
    with LocalCluster(n_workers=1, threads_per_worker=1) as cluster, Client(cluster) as client:
        pid, worker = client.submit(os.getpid).result(), cluster.workers[0].pid
        os.kill(pid, signal.SIGKILL)
        eventually(lambda: client.submit(os.getpid, pure=False).result() != pid)
        assert cluster.workers[0].pid == worker


def test_retired_workers_stay_away():
    with LocalCluster(n_workers=2, threads_per_worker=1) as cluster, Client(cluster) as client:
        worker = cluster.workers[1]
        client.retire_workers([worker.address])
        eventually(lambda: worker.status == Status.closed)
        assert worker.pid is None
        assert len(cluster.scheduler.workers) == 1


def test_client_restart():
    with LocalCluster(n_workers=2, threads_per_worker=1) as cluster, Client(cluster) as client:
        before = client.run(os.getpid)
        client.restart()
        after = client.run(os.getpid)
        assert len(after) == 2 and not set(after.values()) & set(before.values())
        assert {w.address for w in cluster.workers.values()} == set(after)


def test_the_scheduler_is_killed():
    """Told with the reason; the workers end, the cluster can be closed"""
    with captured_logger("distributed.deploy.local") as log:
        cluster = LocalCluster(n_workers=1, threads_per_worker=1)
        worker = cluster.workers[0]
        os.kill(cluster.scheduler.pid, signal.SIGKILL)
        eventually(lambda: cluster.scheduler.status == Status.failed)
        eventually(lambda: worker.pid is None and worker.status == Status.closed)
        cluster.close()
    assert "the scheduler was killed by SIGKILL" in log.getvalue()
    with pytest.raises(RuntimeError, match="nothing to look at"):
        cluster.scheduler.tasks.items()


def test_a_worker_that_hangs_is_killed():
    """Stopped, it does not hear that it shall end"""
    cluster = LocalCluster(n_workers=1, threads_per_worker=1)
    worker = cluster.workers[0]
    os.kill(worker.pid, signal.SIGSTOP)
    process = psutil.Process(worker.pid)
    cluster.close()
    assert not process.is_running()


def test_a_parent_that_is_another_process():
    """As a command finds it whose parent has ended before it could ask the kernel to be told"""
    environment = clean_environment({"CASK_PARENT_PID": "1"})
    told = subprocess.run(
        [find_program(), "scheduler", "--port", "0"], env=environment, capture_output=True, text=True, timeout=30
    )
    assert (told.returncode, told.stdout) == (1, "")
    assert told.stderr == "cask: CASK_PARENT_PID: 1 is not our parent, or has ended\n"
