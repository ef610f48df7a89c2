"""User code that kills its process costs its own task, and nothing that others made."""

from __future__ import annotations

import ctypes
import os
import signal
import time

import pytest
from distributed import Lock, wait

import harness
from worker_clusters import client, make_cluster, mixed  # noqa: F401  (fixtures)


def inc(x):
    return x + 1


def segfault(*_):
    ctypes.string_at(8)


def die(how):
    how()


def test_segfault_fails_its_task(client):
    future = client.submit(segfault, workers="alice", pure=False)
    with pytest.raises(RuntimeError, match="SIGSEGV") as info:
        future.result(timeout=60)
    assert "segfault" in str(info.value)  # the frame of Python
    assert client.submit(inc, 1, workers="alice", pure=False).result(timeout=60) == 2


@pytest.mark.parametrize(
    "how, said",
    [
        (lambda: os._exit(7), "status 7"),
        (lambda: os.kill(os.getpid(), signal.SIGKILL), "SIGKILL"),
        (os.abort, "SIGABRT"),
    ],
)
def test_certificate_says_how(client, how, said):
    future = client.submit(die, how, workers="bob", pure=False)
    with pytest.raises(RuntimeError, match=said):
        future.result(timeout=60)


def test_one_among_many(client):
    """999 right results, one clear exception"""
    futures = [
        client.submit(segfault if i == 500 else inc, i, workers="alice", pure=False) for i in range(1000)
    ]
    wait(futures, timeout=120)
    erred = [i for i, future in enumerate(futures) if future.status == "error"]
    assert erred == [500]
    assert "SIGSEGV" in str(futures[500].exception())
    results = client.gather(futures, errors="skip")
    assert results == [i + 1 for i in range(1000) if i != 500]


def test_values_of_the_dead_are_made_again(client):
    """Large results live in the executor alone; what was scattered is the worker's own"""
    made = client.map(lambda i: bytes(200_000 + i), range(5), workers="alice", pure=False)
    kept = client.scatter({"kept": 5}, workers=["alice"])["kept"]
    wait([*made, kept])
    with pytest.raises(RuntimeError):
        client.submit(segfault, workers="alice", pure=False).result(timeout=60)
    assert [len(value) for value in client.gather(made)] == [200_000 + i for i in range(5)]
    assert client.submit(inc, kept, workers="alice", pure=False).result(timeout=60) == 6


def test_neighbours_run_again(client, tmp_path):
    """The other thread's task was no culprit"""
    started = tmp_path / "started"

    def neighbour(path):
        with open(path, "a") as file:
            file.write("x")
        deadline = time.time() + 60
        while os.path.getsize(path) < 2 and time.time() < deadline:
            time.sleep(0.01)
        return os.path.getsize(path)

    slow = client.submit(neighbour, str(started), workers="alice", pure=False)
    harness.eventually(started.exists)
    with pytest.raises(RuntimeError, match="SIGSEGV"):
        client.submit(segfault, workers="alice", pure=False).result(timeout=60)
    assert slow.result(timeout=60) == 2


def test_executors_of_one_worker(make_cluster):
    """Tasks of one worker in two processes exchange values; the death of one leaves the other"""
    cluster = make_cluster("twin", nthreads=2, options=["--executors", "2"])
    from distributed import Client

    with Client(cluster.address, timeout=20) as client:
        assert wait_for_two(client)
        total = client.submit(sum, client.map(lambda i: i * i, range(100)))
        assert total.result(timeout=60) == sum(i * i for i in range(100))
        large = client.map(lambda i: bytes(300_000), range(8))
        sizes = client.map(len, large)
        assert client.gather(sizes) == [300_000] * 8
        with pytest.raises(RuntimeError, match="SIGSEGV"):
            client.submit(segfault).result(timeout=60)
        assert client.submit(lambda parts: sum(map(len, parts)), large).result(timeout=60) == 2_400_000


def wait_for_two(client):
    """Both executors run tasks"""
    seen = set()

    def look():
        seen.update(client.gather(client.map(lambda i: (time.sleep(0.02), os.getpid())[1], range(8), pure=False)))
        return len(seen) == 2

    return harness.eventually(look)


def test_no_file_is_left(make_cluster, tmp_path):
    cluster = make_cluster("tidy", options=["--local-directory", str(tmp_path)])
    scratch = tmp_path / "dask-scratch-space"
    assert len(list(scratch.iterdir())) == 2
    worker = cluster.workers["tidy"]
    worker.popen.terminate()
    assert worker.wait() == 0
    assert list(scratch.iterdir()) == []


def test_killed_worker_leaves_no_process(make_cluster):
    """The executors go with it, and the next worker removes its directory"""
    cluster = make_cluster("gone", nthreads=1)
    from distributed import Client

    with Client(cluster.address, timeout=20) as client:
        executor = client.submit(os.getpid).result()
        worker = cluster.workers["gone"]
        worker.popen.kill()
        worker.wait()
        harness.eventually(lambda: not os.path.exists(f"/proc/{executor}"), 20, "the executor ends")


def test_cancelled_task_is_stopped(client, mixed, tmp_path):
    """A stock worker would let it run to its end; its thread is free for others here"""
    started = tmp_path / "started"

    def endless(path):
        open(path, "w").close()
        while True:
            time.sleep(0.01)

    future = client.submit(endless, str(started), workers="bob", pure=False)
    harness.eventually(started.exists)
    future.cancel()
    assert client.submit(inc, 1, workers="bob", pure=False).result(timeout=60) == 2


def test_cancelled_task_leaves_the_queue_for_a_lock(client):
    """Else it would get the lock in the end, and keep it for good"""

    def hold(x, name):
        with Lock(name):
            return x

    lock = Lock("wanted")
    lock.acquire()
    future = client.submit(hold, 1, "wanted", workers="bob", pure=False)
    harness.eventually(lambda: future.key in str(client.call_stack()))
    future.cancel()
    assert client.submit(inc, 1, workers="bob", pure=False).result(timeout=60) == 2
    lock.release()
    assert client.submit(hold, 2, "wanted", workers="bob", pure=False).result(timeout=60) == 2


def test_cancelled_task_that_had_not_begun(client, mixed, tmp_path):
    marker, gate = tmp_path / "marker", tmp_path / "gate"

    def wait_for(path):
        while not os.path.exists(path):
            time.sleep(0.01)

    def mark(path):
        open(path, "w").close()

    first = client.submit(wait_for, str(gate), workers="bob", pure=False)
    second = client.submit(mark, str(marker), workers="bob", pure=False)
    second.cancel()
    harness.eventually(lambda: second.key not in str(mixed.ask("processing")))
    bob = mixed.addresses()["bob"]
    harness.eventually(lambda: second.key not in harness.ask(bob, "dump_state")["tasks"])
    gate.touch()
    first.result(timeout=60)
    assert client.submit(inc, 1, workers="bob", pure=False).result(timeout=60) == 2
    assert not marker.exists()
