"""P2P shuffles on cask workers whose executors die: what a dead one had received or was to send is not missing."""

from __future__ import annotations

import os
import signal
import time

import dask
import dask.dataframe as dd
import numpy
import pandas
import pytest
from distributed import Client, get_worker

import harness
from worker_clusters import make_cluster  # noqa: F401  (a fixture)

PARTS = 8


def make_part(number):
    rng = numpy.random.default_rng(number)
    return pandas.DataFrame({"id": rng.integers(0, 40, 500), "x": rng.integers(0, 1000, 500)})


def wait_at(part, path, where, only):
    """Tells which worker waits, until there is a file"""
    if only in (None, get_worker().name):
        with open(f"{path}.{where}", "w") as file:
            file.write(get_worker().name)
        while not os.path.exists(path):
            time.sleep(0.01)
    return part


def make_gated(number, path):
    part = make_part(number)
    return wait_at(part, path, "reached", None) if number == PARTS - 1 else part


@pytest.fixture
def two(make_cluster):  # noqa: F811
    """Two workers of one thread, their client, and the process of each one's executor by name"""
    cluster = make_cluster("alice", "bob", nthreads=1)
    with Client(cluster.address, timeout=20) as client:
        yield cluster, client


def kill_executor(client, name):
    def pid(dask_worker):
        return dask_worker.name, os.getpid()

    pids = dict(client.run(pid).values())
    os.kill(pids[name], signal.SIGKILL)
    harness.eventually(lambda: dict(client.run(pid).values()).get(name) not in (None, pids[name]), 30)


def expected():
    return sorted(map(tuple, pandas.concat(map(make_part, range(PARTS))).to_numpy().tolist()))


def rows(future):
    return sorted(map(tuple, future.result(timeout=80)[["id", "x"]].to_numpy().tolist()))


def test_while_parts_are_sent(two, tmp_path):
    """It had sent parts, and had received parts of others'; it ran no task when it died"""
    cluster, client = two
    gate = tmp_path / "gate"
    with dask.config.set({"dataframe.shuffle.method": "p2p"}):
        frame = dd.from_map(make_gated, range(PARTS), path=str(gate), meta=make_part(0).iloc[:0])
        result = client.compute(frame.shuffle("id"))
    reached = tmp_path / "gate.reached"
    harness.eventually(lambda: reached.exists() and reached.read_text(), 60, "all other parts are made")
    harness.eventually(lambda: len(client.processing()) and idle(client, reached.read_text()), 30)
    kill_executor(client, "bob" if reached.read_text() == "alice" else "alice")
    gate.touch()
    assert rows(result) == expected()
    log = "".join(worker.log() for worker in cluster.workers.values())
    assert "loses an executor and begins again" in log


def idle(client, busy):
    """All but one have nothing to do"""
    names = {address: info["name"] for address, info in client.scheduler_info(n_workers=-1)["workers"].items()}
    return all(not keys for address, keys in client.processing().items() if names[address] != busy)


def test_while_parts_are_taken(two, tmp_path):
    """Its outputs were done, and alive in it alone; the other one's are half taken"""
    cluster, client = two
    gate = tmp_path / "gate"
    with dask.config.set({"dataframe.shuffle.method": "p2p"}):
        frame = dd.from_map(make_part, range(PARTS), meta=make_part(0).iloc[:0])
        taken = frame.shuffle("id").map_partitions(
            wait_at, str(gate), "taken", "alice", meta=make_part(0).iloc[:0], enforce_metadata=False
        )
        result = client.compute(taken)
    harness.eventually((tmp_path / "gate.taken").exists, 60, "alice takes a part")
    harness.eventually(lambda: idle(client, "alice"), 30, "bob has taken his")
    kill_executor(client, "bob")
    gate.touch()
    assert rows(result) == expected()
