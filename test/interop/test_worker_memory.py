"""Cask workers short of memory: values go to disk and come back, executors that grow too much are ended, and
nothing is left behind. What the store does on each error is in test/unit/store/; see docs/store.md."""

from __future__ import annotations

import contextlib
import os
import pathlib
import shutil
import subprocess
import time

import numpy
import pytest
from distributed import Client, wait

import harness
from worker_clusters import make_cluster  # noqa: F401  (a fixture)

SIZE = 4_000_000
MEMORY = "DASK_DISTRIBUTED__WORKER__MEMORY__"


def settings(**thresholds):
    off = dict.fromkeys(("target", "spill", "pause", "terminate"), "false")
    return {MEMORY + name.upper(): str(value) for name, value in {**off, **thresholds}.items()}


def make(number):
    return numpy.random.default_rng(number).integers(0, 256, SIZE, dtype=numpy.uint8)


def total(array):
    return int(array.sum())


def grow(limit):
    held = []
    while sum(map(len, held)) < limit:
        held.append(bytearray(b"x" * 20_000_000))
        time.sleep(0.02)
    return len(held)


def spilled(cluster):
    return cluster.infos()["alice"]["metrics"]["spilled_bytes"]


def spill_files(tmp_path):
    return list(tmp_path.glob("dask-scratch-space/*/storage/*.spill"))


@pytest.fixture
def small(make_cluster, tmp_path):  # noqa: F811
    """alice, with room for ten values of 4 MB, and her client"""
    cluster = make_cluster(
        "alice",
        memory="400MB",
        env=settings(target=0.1),
        options=("--local-directory", str(tmp_path)),
    )
    with Client(cluster.address, timeout=20) as client:
        yield cluster, client


def test_values_beyond_the_target_go_to_disk(small, tmp_path):
    cluster, client = small
    futures = client.map(make, range(40), pure=False)
    client.submit(len, futures).result()  # all are done; none is brought back, as they are not opened
    harness.eventually(
        lambda: spilled(cluster)["memory"] >= 29 * SIZE, 20, "what is over the target went to disk"
    )
    assert 0.9 < spilled(cluster)["disk"] / spilled(cluster)["memory"] < 1.1
    files = spill_files(tmp_path)
    assert sum(f.stat().st_size for f in files) >= 29 * SIZE
    assert {f.stat().st_mode & 0o777 for f in files} == {0o600}
    assert {f.parent.stat().st_mode & 0o777 for f in files} == {0o700}
    wanted = [total(make(i)) for i in range(40)]
    assert client.gather(client.map(total, futures)) == wanted
    for number in (0, 20, 39):
        assert (futures[number].result() == make(number)).all()
    del futures
    harness.eventually(lambda: spilled(cluster)["disk"] == 0, 20, "what is released leaves the disk")


def test_scattered_values_go_to_disk(small):
    cluster, client = small
    futures = client.scatter([make(i) for i in range(20)])
    harness.eventually(lambda: spilled(cluster)["memory"] >= 9 * SIZE, 20, "scattered data spills")

    def where(dask_worker):
        data = dask_worker.data
        return sorted([*data.disk, *data.memory]), len(data.disk), data.spilled_total.memory

    # Each is a look of its own, while values may still be on their way
    wanted = sorted(f.key for f in futures)
    harness.eventually(lambda: [seen[0] for seen in client.run(where).values()] == [wanted], 20, "each value is in one place")
    ((_, count, size),) = client.run(where).values()
    assert count >= 9 and size >= 9 * SIZE
    assert client.gather(client.map(total, futures)) == [total(make(i)) for i in range(20)]


def test_a_broken_disk_costs_a_recomputation(small, tmp_path):
    cluster, client = small
    futures = client.map(make, range(20), pure=False)
    client.submit(len, futures).result()
    harness.eventually(lambda: spilled(cluster)["memory"] >= 9 * SIZE, 20, "values spill")
    for path in spill_files(tmp_path):
        size = path.stat().st_size
        with path.open("r+b") as file:
            for at in range(1000, size, 1_000_000):
                file.seek(at)
                file.write(b"broken")
    assert client.gather(client.map(total, futures)) == [total(make(i)) for i in range(20)]
    assert "is lost (CORRUPT)" in cluster.workers["alice"].log()


def test_the_directory_goes(small, tmp_path):
    """as by a cleaner of temporary files: what is in open files stays, the rest is computed again"""
    cluster, client = small
    futures = client.map(make, range(20), pure=False)
    client.submit(len, futures).result()
    harness.eventually(lambda: spilled(cluster)["memory"] >= 9 * SIZE, 20, "values spill")
    for storage in tmp_path.glob("dask-scratch-space/*/storage"):
        shutil.rmtree(storage)
    assert client.gather(client.map(total, futures)) == [total(make(i)) for i in range(20)]
    more = client.map(make, range(20, 40), pure=False)
    assert client.gather(client.map(total, more)) == [total(make(i)) for i in range(20, 40)]
    assert cluster.workers["alice"].alive


def test_three_times_the_memory(make_cluster, tmp_path):  # noqa: F811
    """The right answer, and nothing of it on disk when it is over, nor when the worker has ended"""
    limit = 100_000_000
    options = ("--local-directory", str(tmp_path))
    cluster = make_cluster("alice", memory=str(limit), env=settings(target=0.3), options=options)
    with Client(cluster.address, timeout=20) as client:
        arrays = client.map(make, range(3 * limit // SIZE), pure=False)
        wait(arrays, timeout=60)
        harness.eventually(lambda: spilled(cluster)["memory"] > 2 * limit, 60, "what is over the target went to disk")
        pairs = client.map(lambda a, b: int(a.sum()) + int(b.max()), arrays, arrays[::-1], pure=False)
        got = client.gather(pairs)
        assert got == [total(a) + int(make(len(got) - 1 - n).max()) for n, a in enumerate(map(make, range(len(got))))]
        del arrays, pairs
        harness.eventually(lambda: spilled(cluster)["disk"] == 0, 60, "what is released leaves the disk")
    cluster.workers["alice"].popen.terminate()
    assert cluster.workers["alice"].wait(60) == 0
    assert list((tmp_path / "dask-scratch-space").iterdir()) == []


def test_values_that_come_faster_than_they_leave(make_cluster, tmp_path):  # noqa: F811
    """Tasks wait for the disk; no executor is ended for what is stored."""

    class Slow:
        """Made at once, serialised slowly"""

        def __init__(self, number):
            self.number, self.data = number, bytes([number % 256]) * SIZE

        def __sizeof__(self):
            return SIZE

        def __reduce__(self):
            time.sleep(0.01)
            return Slow, (self.number,), {"data": self.data}

    cluster = make_cluster(
        "alice", memory="600MB", nanny=True, options=("--nthreads", "2", "--local-directory", str(tmp_path))
    )
    with Client(cluster.address, timeout=20) as client:
        pid = client.run(os.getpid)
        values = client.map(Slow, range(180), pure=False)
        numbers = client.map(lambda value: (value.number, len(value.data)), values, pure=False)
        assert client.gather(numbers) == [(number, SIZE) for number in range(180)]
        assert spilled(cluster)["memory"] > 40 * SIZE
        assert client.run(os.getpid) == pid
    assert "Ending an executor" not in cluster.workers["alice"].log()


def test_no_thread_keeps_a_value(make_cluster, tmp_path):  # noqa: F811
    """of a task that was read while another ran, or that could not be serialised"""

    def make_seen(path):
        """A value that tells whether it lives; it is there once there is a file"""
        import builtins
        import weakref

        class Value:
            def __reduce__(self):
                raise TypeError("it stays here")

        value = Value()
        vars(builtins).setdefault("cask_test_seen", []).append(weakref.ref(value))
        while not os.path.exists(path):
            time.sleep(0.01)
        return value

    def count_seen():
        import builtins

        return [value() is not None for value in builtins.cask_test_seen]

    gate = tmp_path / "gate"
    cluster = make_cluster("alice")
    with Client(cluster.address, timeout=20) as client:
        alice = cluster.addresses()["alice"]
        first = client.submit(make_seen, str(gate), pure=False)
        harness.eventually(lambda: first.key in str(client.call_stack()), 60, "the first one runs")
        second = client.submit(make_seen, str(gate), pure=False)
        harness.eventually(lambda: second.key in harness.ask(alice, "dump_state")["tasks"])
        gate.touch()
        wait([first, second], timeout=20)
        assert client.run(count_seen)[alice] == [True, True]
        with pytest.raises(TypeError, match="it stays here"):
            first.result(timeout=20)
        first.release()
        second.release()
        harness.eventually(lambda: client.run(count_seen)[alice] == [False, False], 20, "both are gone")


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 30 MB; its path"""
    path = tmp_path / "disk"
    path.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=30m", "none", str(path)], capture_output=True)
    if done.returncode != 0:
        pytest.skip(f"cannot mount: {done.stderr.decode()}")
    yield path
    subprocess.run(["umount", "--lazy", str(path)], check=True)


def test_the_disk_is_full(make_cluster, small_disk):  # noqa: F811
    """Values that do not fit stay in memory; the worker says so and goes on"""
    cluster = make_cluster(
        "alice",
        memory="400MB",
        env=settings(target=0.1),
        options=("--local-directory", str(small_disk)),
    )
    with Client(cluster.address, timeout=20) as client:
        futures = client.map(make, range(25), pure=False)
        client.submit(len, futures).result()
        alice = cluster.workers["alice"]
        harness.eventually(lambda: "NO_SPACE" in alice.log(), 20, "the log says that the disk is full")
        assert client.gather(client.map(total, futures)) == [total(make(i)) for i in range(25)]
        assert alice.alive and alice.log().count("NO_SPACE") < 25  # not for each value


def test_max_spill(make_cluster, tmp_path):  # noqa: F811
    cluster = make_cluster(
        "alice",
        memory="400MB",
        env={**settings(target=0.1), MEMORY + "MAX_SPILL": "20MB"},
        options=("--local-directory", str(tmp_path)),
    )
    with Client(cluster.address, timeout=20) as client:
        futures = client.map(make, range(20), pure=False)
        client.submit(len, futures).result()
        alice = cluster.workers["alice"]
        harness.eventually(lambda: "NO_SPACE" in alice.log(), 20, "the log says that the limit is reached")
        assert spilled(cluster)["disk"] <= 20_000_000
        assert alice.log().count("NO_SPACE") < 5
        assert client.gather(client.map(total, futures)) == [total(make(i)) for i in range(20)]


def test_process_memory_over_the_threshold_spills(make_cluster, tmp_path):  # noqa: F811
    """Values alone stay below `target`; with the processes it is too much"""
    cluster = make_cluster("alice", memory="400MB", env=settings(target=0.45, spill=0.5))
    with Client(cluster.address, timeout=20) as client:
        futures = client.scatter([make(i) for i in range(42)])
        harness.eventually(lambda: spilled(cluster)["memory"] > 0, 20, "memory over the threshold spills")
        assert client.gather(client.map(total, futures)) == [total(make(i)) for i in range(42)]


def test_paused_while_memory_is_high(make_cluster):  # noqa: F811
    cluster = make_cluster("alice", memory="400MB", env=settings(pause=0.6))
    with Client(cluster.address, timeout=20) as client:
        futures = client.scatter([make(i) for i in range(45)])
        harness.eventually(lambda: cluster.infos()["alice"]["status"] == "paused", 20, "it is paused")
        held_back = client.submit(sum, [1, 2])
        time.sleep(0.3)
        assert not held_back.done()
        del futures
        harness.eventually(lambda: cluster.infos()["alice"]["status"] == "running", 20, "it goes on")
        assert held_back.result(timeout=20) == 3


def processes(parent=None):
    """All, or this one and its children"""
    pids = (folder.name for folder in pathlib.Path("/proc").glob("[0-9]*"))
    if parent is not None:
        pids = [str(parent), *pathlib.Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]
    return [pathlib.Path("/proc", pid) for pid in pids]


def segments(folders):
    """Memory without a name that they hold: numbers of its files"""
    for folder in folders:
        with contextlib.suppress(OSError):
            for link in (folder / "fd").iterdir():
                with contextlib.suppress(OSError):
                    if os.readlink(link).startswith("/memfd:cask"):
                        yield os.stat(link).st_ino


def test_kill_leaves_nothing_for_long(make_cluster, tmp_path):  # noqa: F811
    """The kernel ends all its processes, the one that forks executors too, and so no memory is left; the next worker on the
    host removes what is on disk"""
    options = {"memory": "400MB", "env": settings(target=0.1)}
    in_shared_memory = set(os.listdir("/dev/shm"))
    options["options"] = ("--local-directory", str(tmp_path))
    cluster = make_cluster("alice", **options)
    with Client(cluster.address, timeout=20) as client:
        futures = client.map(make, range(20), pure=False)
        harness.eventually(lambda: len(spill_files(tmp_path)) > 0, 20, "values spill")
        alice = cluster.workers["alice"].pid
        harness.eventually(lambda: len(processes(alice)) == 3, 60, "worker, executor, and who forks them")
        family = processes(alice)
        held = set(segments(family))
        assert held
        cluster.kill_worker("alice")
        harness.eventually(lambda: not any(one.exists() for one in family), 60, "all its processes have ended")
        assert not held & set(segments(processes()))
        assert not [name for name in set(os.listdir("/dev/shm")) - in_shared_memory if "cask" in name]
        assert len(spill_files(tmp_path)) > 0
        del futures
    cluster.start_workers("bob", command=harness.CASK_WORKER, **options)
    workers = [p for p in (tmp_path / "dask-scratch-space").iterdir() if p.is_dir()]
    assert len(workers) == 1
    assert spill_files(tmp_path) == []


def test_the_executor_that_grows_is_ended(make_cluster, tmp_path):  # noqa: F811
    """and what the worker stores lives on"""
    cluster = make_cluster("alice", memory="600MB", nanny=True, env=settings(terminate=0.9))
    with Client(cluster.address, timeout=20) as client:
        kept = client.submit(make, 1, pure=False)
        pid = client.run(os.getpid)
        (data,) = client.scatter([make(2)])
        sums = client.submit(total, kept).result(), client.submit(total, data).result()
        hog = client.submit(grow, 2_000_000_000, retries=0, pure=False)
        with pytest.raises(Exception, match="memory"):
            hog.result(timeout=60)
        assert client.submit(total, data).result() == sums[1]
        assert client.submit(total, kept).result() == sums[0]
        assert client.run(os.getpid) != pid
        assert cluster.workers["alice"].alive


def test_without_a_nanny_no_executor_is_ended(make_cluster):  # noqa: F811
    cluster = make_cluster("alice", memory="100MB", env=settings(terminate=0.9, monitor_interval="10ms"))
    with Client(cluster.address, timeout=20) as client:
        pid = client.run(os.getpid)
        assert client.submit(grow, 300_000_000, retries=0, pure=False).result(timeout=60)
        assert client.run(os.getpid) == pid
