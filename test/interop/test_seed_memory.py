"""The text "Keeping results growing on the server farm" (002): what a full memory does.

The limits are the workers' own business; the scheduler must follow what they tell it.
"""

import os
import re
import threading

import pytest
from distributed import wait
from harness import eventually
from tasks import inc

LIMIT = 500  # MB, the memory limit of each worker here
# Exactly what is managed decides, not what the machine happens to do with freed pages.
MANAGED_ONLY = {"DASK_DISTRIBUTED__WORKER__MEMORY__SPILL": "False"}


def block(i):
    return os.urandom(20_000_000)  # does not compress


@pytest.mark.seed("S77", "S86", "S90", "S91", "S95")
def test_managed_memory_over_60_percent_is_spilled(make_cluster, connect, tmp_path):
    cluster = make_cluster(
        "w",
        memory=f"{LIMIT}MB",
        env=MANAGED_ONLY,
        options=["--local-directory", str(tmp_path)],
    )
    client = connect(cluster)
    address = cluster.addresses()["w"]

    def spilled():
        return client.scheduler_info()["workers"][address]["metrics"]["spilled_bytes"]["disk"]

    few = client.map(block, range(6))  # 24 %
    wait(few)
    eventually(lambda: client.run(lambda dask_worker: len(dask_worker.data)))
    assert spilled() == 0

    more = client.map(block, range(6, 20))  # 80 %
    wait(more)
    eventually(lambda: spilled() >= 0.18 * LIMIT * 1e6)
    (on_disk,) = client.run(lambda dask_worker: list(dask_worker.data.disk)).values()
    assert len(on_disk) in (5, 6)
    assert any("storage" in path for path, _, files in os.walk(tmp_path) if files)

    assert set(on_disk) == {f.key for f in few[: len(on_disk)]}  # least recently used first
    assert client.submit(len, few[0]).result() == 20_000_000  # and still usable


@pytest.mark.seed("S92", "S93")
@pytest.mark.parametrize("variable", ["DASK_TEMPORARY_DIRECTORY", "TMPDIR"])
def test_where_the_spill_goes_by_default(make_cluster, tmp_path, variable):
    cluster = make_cluster("w", env={variable: str(tmp_path)})
    (worker,) = cluster.infos().values()
    assert worker["local_directory"].startswith(str(tmp_path / "dask-scratch-space"))


@pytest.mark.seed("S88")
def test_a_paused_worker_gets_no_work(make_cluster, connect):
    cluster = make_cluster("a", "b")
    client = connect(cluster)
    a, b = (cluster.addresses()[name] for name in "ab")

    def pause(dask_worker):
        from distributed.core import Status

        dask_worker.memory_manager.memory_pause_fraction = False  # or it would undo this
        dask_worker.status = Status.paused

    def unpause(dask_worker):
        from distributed.core import Status

        dask_worker.status = Status.running

    def status(address):
        return client.scheduler_info()["workers"][address]["status"]

    client.run(pause, workers=[a])
    eventually(lambda: status(a) == "paused")
    futures = client.map(inc, range(10), pure=False)
    wait(futures)
    assert {holder for holders in client.who_has(futures).values() for holder in holders} == {b}

    only_a = client.submit(inc, 1, workers=[a], key="only-a")
    eventually(lambda: client.run_on_scheduler(state_of, "only-a") == "no-worker")
    client.run(unpause, workers=[a])
    assert only_a.result() == 2


def state_of(key, dask_scheduler):
    return dask_scheduler.tasks[key].state


@pytest.mark.seed("S87", "S88")
def test_process_memory_over_80_percent_pauses(make_cluster, connect):
    cluster = make_cluster(
        "w",
        memory=f"{LIMIT}MB",
        env={"DASK_DISTRIBUTED__WORKER__MEMORY__TERMINATE": "False"},
    )
    client = connect(cluster)
    (w,) = cluster.addresses().values()

    def hog(megabytes):
        import tasks

        tasks.hog = b"x" * (megabytes * 1_000_000)  # no result: nothing that could be spilled

    def status():
        return client.scheduler_info()["workers"][w]["status"]

    client.run(hog, int(LIMIT * 0.85))
    eventually(lambda: status() == "paused")
    later = client.submit(inc, 1)
    client.run(hog, 0)
    eventually(lambda: status() == "running")
    assert later.result() == 2


@pytest.mark.seed("S89")
def test_process_memory_over_95_percent_restarts(make_cluster, connect):
    cluster = make_cluster("w", memory=f"{LIMIT}MB", nanny=True)
    client = connect(cluster)
    (w,) = cluster.addresses().values()

    def hog():
        import tasks

        vars(tasks).update(hog=b"x" * int(500e6))

    client.run(lambda: threading.Thread(target=hog).start(), on_error="ignore")
    eventually(lambda: set(cluster.addresses().values()) not in ({w}, set()), 30)
    assert re.search(r"exceeded 95% memory budget", cluster.workers["w"].log())
    assert client.submit(inc, 1).result() == 2
    eventually(lambda: client.get_events("worker-restart-memory"))
