"""What a cluster finds wrong with itself, by its rules: each that real processes can show; all of them, with what they must
not find, are in test/unit/observer/test_findings.c."""

from __future__ import annotations

import ctypes
import json
import os
import subprocess

import numpy as np
import pytest
from distributed import Client, KilledWorker, wait

import cgroups
from harness import CASK_WORKER, KIND, Cluster, eventually
from tasks import inc
from test_observer import ON, api, base_of, child_of
from worker_clusters import start_cask

pytestmark = [pytest.mark.skipif(KIND != "cask", reason="stock has no observer"), pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def cluster():
    """A scheduler with a dashboard, a cask worker `alice`, and a stock one, `stan`"""
    made = Cluster(
        env={
            **ON,
            "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "0",
            "DASK_CASK__FINDINGS__NO_WORKER": "0.1",
            "DASK_CASK__FINDINGS__LARGE_GRAPH": "2000000",
            "DASK_CASK__FINDINGS__LOOP_LAG": "False",  # a loaded machine is no finding here
            "DASK_CASK__FINDINGS__CLOCK_SKEW": "False",
        }
    )
    start_cask(made, "alice", wait=False)
    made.start_workers("stan", wait=False)
    made.wait_for("alice", "stan")
    yield made
    made.close()


@pytest.fixture
def base(cluster):
    return base_of(cluster)


@pytest.fixture
def client(cluster):
    with Client(cluster.address, timeout=30) as client:
        yield client


def find(base, kind, **wanted):
    """The first finding of a kind"""
    for finding in api(base, "findings")["findings"]:
        if finding["kind"] == kind and all(finding[name] == value for name, value in wanted.items()):
            return finding
    return None


def crash():
    ctypes.string_at(8)


def sleep_until(path):
    import time

    while not os.path.exists(path):
        time.sleep(0.01)


def test_nothing_is_found_where_nothing_is_wrong(cluster, base, client):
    assert client.gather(client.map(inc, range(10))) == list(range(1, 11))
    assert api(base, "findings")["findings"] == []


def test_a_task_that_takes_its_process_along(cluster, base, client):
    alice = cluster.addresses()["alice"]
    future = client.submit(crash, key="crash-1", workers=[alice])
    with pytest.raises(KilledWorker):
        future.result()
    died = eventually(lambda: find(base, "process-died"), 60)
    assert died["keys"] == ["crash-1"] and died["worker"] == alice and died["severity"] == "error"
    assert "SIGSEGV" in died["sentence"] and "alice" in died["sentence"]
    assert died["memory"]["limit"] == 1 << 30
    given_up = eventually(lambda: find(base, "killed-worker"), 60)
    assert given_up["keys"] == ["crash-1"]
    ended = "the executor was ended by SIGSEGV (Segmentation fault) at address 0x8"
    assert ended in given_up["sentence"] and "\\" not in given_up["sentence"]
    (failure,) = (one for one in api(base, "failures")["failures"] if one["keys"] == ["crash-1"])
    assert failure["type"] == "KilledWorker" and failure["message"].endswith(ended)
    assert failure["where"].startswith("test_findings.py:") and failure["where"].endswith(" in crash")


@pytest.fixture
def group():
    """For a worker whose executors the kernel may end; None where there can be none, which is printed"""
    made, why = cgroups.make()
    print(why or made.path)
    yield made
    if made is not None:
        made.remove()


def hog():
    held = []
    while True:
        held.append(bytearray(b"x" * 10_000_000))


def test_a_task_that_takes_all_memory(cluster, base, client, group):
    """Really ended by the kernel, if it can be had; else by the worker, which looks each 0.1 s"""
    looks = {} if group is None else {"DASK_DISTRIBUTED__WORKER__MEMORY__MONITOR_INTERVAL": "1 hour"}
    command = CASK_WORKER if group is None else group.command()
    cluster.start_workers("olive", command=command, memory="400MiB", nanny=True, env=looks)
    try:
        olive = cluster.addresses()["olive"]
        with pytest.raises(KilledWorker):
            client.submit(hog, key="hog-1", workers=[olive]).result()
        found = eventually(lambda: find(base, "out-of-memory"), 60)
        assert found["keys"] == ["hog-1"] and found["worker"] == olive and found["severity"] == "error"
        told = "Out of memory (OOM). Task hog-1 took the process that ran it along, on worker olive ("
        assert found["sentence"].startswith(told)
        assert found["memory"]["limit"] == 400 << 20
        said = "memory limit: 400.00 MiB" if group is None else "(OOM kill): it held 400.00 MiB of its limit of 400.00 MiB"
        assert said in found["sentence"]
    finally:
        worker = cluster.workers.pop("olive")
        client.retire_workers([olive])  # so that it is no lost one
        worker.wait(60)
        worker.close()


def test_tasks_that_nobody_may_run_until_they_are_not_wanted(base, client):
    stuck = client.submit(inc, 1, key="stuck-1", resources={"GPU": 1})
    found = eventually(lambda: find(base, "no-worker", active=True), 60)
    assert found["keys"] == ["stuck-1"] and "GPU" in found["sentence"] and found["link"] == "why/stuck-1"
    stuck.release()
    eventually(lambda: find(base, "no-worker", active=False), 60, "it is past")


def test_data_within_a_graph(base, client):
    data = np.random.default_rng(0).bytes(3_000_000)
    assert client.submit(len, data, pure=False).result() == 3_000_000
    assert "MiB" in eventually(lambda: find(base, "large-graph"), 60)["sentence"]


def test_a_worker_that_is_lost_with_what_it_ran(cluster, base, client, tmp_path):
    stan = cluster.addresses()["stan"]
    running = client.submit(sleep_until, str(tmp_path / "go"), key="running-1", workers=[stan], allow_other_workers=True)
    eventually(lambda: running.key in client.processing().get(stan, ()), 60)
    cluster.workers["stan"].kill()
    lost = eventually(lambda: find(base, "worker-lost"), 60)
    assert lost["worker"] == stan and lost["keys"] == ["running-1"] and "stan" in lost["sentence"]
    (tmp_path / "go").touch()
    wait([running], timeout=60)
    # The worst stand first.
    severities = [finding["severity"] for finding in api(base, "findings")["findings"]]
    assert severities == sorted(severities)
    told = subprocess.run([*CASK_WORKER.split()[:1], "status", cluster.address], capture_output=True, text=True, timeout=60)
    assert told.returncode == 0 and told.stderr == "" and lost["sentence"].splitlines()[0] in told.stdout


def test_rules_are_switched_off(make_cluster):
    cluster = make_cluster(env={**ON, "DASK_CASK__FINDINGS__NO_WORKER": "False", "DASK_CASK__FINDINGS__LARGE_GRAPH": "1000000"})
    base = base_of(cluster)
    with Client(cluster.address, timeout=30) as client:
        stuck = client.submit(len, b"x" * 2_000_000, resources={"GPU": 1})
        eventually(lambda: find(base, "large-graph"), 60)
        eventually(lambda: api(base, "summary")["tasks"]["no-worker"] == 1, 60)
        assert json.dumps(api(base, "findings")).count('"kind"') == 1
        del stuck


def test_the_death_of_the_scheduler_is_one(make_cluster):
    cluster = make_cluster(env={**ON, "DASK_CASK__DASHBOARD__LINGER": "1 hour"})
    base = base_of(cluster)
    observer = eventually(lambda: child_of(cluster.scheduler.pid))
    try:
        cluster.scheduler.popen.kill()
        cluster.scheduler.wait()
        found = eventually(lambda: find(base, "scheduler-died"), 60)
        assert found["active"] and "SIGKILL" in found["sentence"]
    finally:
        os.kill(observer, 9)

