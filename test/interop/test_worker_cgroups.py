"""The kernel's limit for executors, where cask workers may make cgroups, and what is done elsewhere. All that needs no kernel, version 2
above all, is in test/unit/exec/test_cgroup.c."""

from __future__ import annotations

import os

import numpy
import pytest
from distributed import Client, KilledWorker

import cgroups
import harness
from test_worker_memory import settings

MEMORY = 400_000_000
LIMIT = "381.47 MiB"
SETTING = "DASK_CASK__WORKER__EXECUTOR_CGROUPS"
ENV = {
    "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "0",
    "DASK_LOGGING": "{'distributed.worker.memory': 'debug'}",
    # Only the kernel looks in time.
    **settings(terminate=0.95, monitor_interval="1 hour"),
}
WATCHED = {**ENV, **settings(terminate=0.95, monitor_interval="100ms")}
SAID_SO = "Each executor has a cgroup of its own in"
SAID_WHY_NOT = "Executors have no cgroups of their own: "


@pytest.fixture
def group():
    """None where the machine has none to give; the reason is printed"""
    made, why = cgroups.make()
    print(why or made.path)
    yield made
    if made is not None:
        made.remove()


@pytest.fixture
def make_cluster(group):  # after it, so that its processes end before
    made = []

    def make(*names, env, **options):
        made.append(harness.Cluster(env=env))
        options = {"memory": str(MEMORY), "nanny": True, **options}
        command = harness.CASK_WORKER if group is None else group.command()
        made[0].start_workers(*names, command=command, **options)
        return made[0]

    yield make
    for cluster in made:
        cluster.close()


def hog():
    held = []
    while True:
        held.append(bytearray(b"x" * 10_000_000))


def sum_of(array):
    return int(array.sum())


def test_who_grows_faster_than_it_is_looked_at(group, make_cluster, tmp_path):
    """The kernel ends it, and says so with numbers; what the worker stores, and who runs beside, lives on"""
    cluster = make_cluster("alice", env=WATCHED if group is None else ENV, nthreads=2, options=("--executors", "2"))
    log = cluster.workers["alice"].log
    with Client(cluster.address, timeout=20) as client:
        (stored,) = client.scatter([numpy.arange(5_000_000)])
        before = client.run(os.getpid)
        beside = client.submit(run_until, str(tmp_path / "go"), pure=False)
        harness.eventually(lambda: client.processing()[next(iter(before))], 60, "a task runs beside")
        with pytest.raises(KilledWorker) as caught:
            client.submit(hog, key="hog-1", pure=False).result()
        (tmp_path / "go").touch()
        assert beside.result() == "beside"
        assert client.submit(sum_of, stored).result() == sum(range(5_000_000))
        assert client.gather(client.map(abs, range(-20, 0), pure=False)) == list(range(20, 0, -1))
        assert cluster.workers["alice"].alive
    if group is None:
        assert SAID_WHY_NOT in log() and "was ended by its worker: Process memory" in str(caught.value)
    else:
        assert f"{SAID_SO} '{group.path}', with a limit of {LIMIT}" in log()
        said = str(caught.value)
        assert "was ended by SIGKILL (Killed): the kernel ended it because memory was out (OOM kill): it held 381." in said
        assert f"of its limit of {LIMIT}" in said and "its cgroup held at most 381." in said
        assert "'hog-1'" in said


def run_until(path):
    import pathlib
    import time

    while not pathlib.Path(path).exists():
        time.sleep(0.01)
    return "beside"


def test_groups_go_with_who_is_in_them(group, make_cluster):
    """An executor's with it; those of a worker that was killed with the next one's start, all with the worker's end"""
    cluster = make_cluster("alice", env=ENV)
    if group is None:
        assert SAID_WHY_NOT in cluster.workers["alice"].log()
        return
    with Client(cluster.address, timeout=20) as client:

        def where():
            pid = client.submit(os.getpid, pure=False).result()
            (name,) = (name for name in group.below() if pid in group.processes(name))
            return name

        first = where()
        with pytest.raises(KilledWorker):
            client.submit(os._exit, 1, pure=False).result()
        harness.eventually(lambda: first not in group.below(), 60, "it is removed")
        assert where() != first
    worker = cluster.workers["alice"].pid
    assert all(name.startswith(f"cask-{worker}-") for name in group.below())
    cluster.kill_worker("alice")
    assert group.below()
    harness.eventually(lambda: not any(map(group.processes, group.below())), 60, "the kernel ends who ran there")
    cluster.start_workers("bob", command=group.command(), memory=str(MEMORY), nanny=True, env=ENV)
    bob = cluster.workers["bob"]
    assert group.below() and all(name.startswith(f"cask-{bob.pid}-") for name in group.below())
    bob.popen.terminate()
    bob.wait()
    assert group.below() == []


def test_a_worker_in_a_group_that_is_too_small(group, make_cluster):
    """and which makes none: the kernel takes the executor all the same, as it is offered first. What is stored lives on"""
    cluster = make_cluster("alice", env={**ENV, SETTING: "off"}, memory="0")
    log = cluster.workers["alice"].log
    assert SAID_SO not in log() and SAID_WHY_NOT not in log()
    if group is None:
        return
    group.limit(400 << 20)
    assert group.below() == []
    with Client(cluster.address, timeout=20) as client:
        (stored,) = client.scatter([numpy.arange(1_000_000)])
        with pytest.raises(KilledWorker, match=r"because memory was out \(OOM kill\)"):
            client.submit(hog, pure=False).result()
        assert client.submit(sum_of, stored).result() == sum(range(1_000_000))
        assert cluster.workers["alice"].alive
    assert "the cgroup of its worker held" in log()


@pytest.mark.parametrize(
    "options, why", [({"memory": "0"}, "the worker has no memory limit"), ({"nanny": False}, "no executor is to be ended for memory")]
)
def test_told_where_nothing_is_enforced(options, why):
    options = {"command": harness.CASK_WORKER, "nanny": True, **options}
    worker = harness.Worker("tcp://127.0.0.1:1", "alice", env={**ENV, SETTING: "on"}, **options)
    harness.eventually(lambda: f"WARNING - {SAID_WHY_NOT}{why}" in worker.log(), 60)
    worker.close()
