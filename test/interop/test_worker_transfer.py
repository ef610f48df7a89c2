"""Large values between workers: by shared memory within a host, byte by byte otherwise; always the same values."""

from __future__ import annotations

import contextlib
import os
import signal

import numpy
import pandas
import pytest
from distributed import Client, wait

import harness
import namespace
from worker_clusters import SCHEDULERS, client, make_cluster, mixed, start_cask  # noqa: F401  (fixtures)

COUNT = 1_000_000  # float64: 8 MB


def transfers(client, name):
    """What the worker has told of its transfers"""
    workers = client.scheduler_info()["workers"].values()
    (metrics,) = (worker["metrics"] for worker in workers if worker["name"] == name)
    return metrics["transfer"]


@contextlib.contextmanager
def watched(client, giver):
    """Adds to the dict what `giver`, a cask worker, gave inside the block, once it has told"""
    found = {}
    before = transfers(client, giver)
    yield found

    def told():
        now = transfers(client, giver)
        is_over = now["outgoing_count"] == 0  # what it has to tell of it is complete
        return is_over and now["outgoing_count_total"] > before["outgoing_count_total"] and now

    now = harness.eventually(told, 20, f"{giver} tells of its transfer")
    for name in now:
        found[name] = now[name] - before.get(name, 0)


def make_frame():
    frame = pandas.DataFrame({f"c{i}": numpy.arange(100_000) * i for i in range(8)})
    frame["text"] = [f"row {i}" for i in range(len(frame))]
    return frame


VALUES = {
    "array": lambda: numpy.arange(COUNT),
    "transposed": lambda: numpy.arange(COUNT).reshape(1000, 1000).T,
    "arrays": lambda: [numpy.full(50_000, i) for i in range(20)],
    "shards": lambda: numpy.arange(10_000_000),  # 80 MB: Dask cuts it in two
    "frame": make_frame,
    "bytes": lambda: numpy.random.default_rng(0).bytes(3_000_001),
    "text": lambda: "é" * 2_000_000,
    "small": lambda: list(range(10)),
    "empty": lambda: numpy.zeros((0, 5)),
}


def make(name):
    return VALUES[name]()


def is_same(name, value):
    """Compared where it came to, with what this process makes of it itself"""
    expected = make(name)
    if isinstance(expected, numpy.ndarray):
        return value.dtype == expected.dtype and numpy.array_equal(value, expected)
    if isinstance(expected, pandas.DataFrame):
        pandas.testing.assert_frame_equal(value, expected)
        return True
    if name == "arrays":
        return all(map(numpy.array_equal, value, expected))
    return value == expected


def write_there(array):
    assert array.flags.writeable
    array += 1
    return float(array[0]), float(array[-1])


def itself(array):
    return array


@pytest.mark.parametrize("name", VALUES)
@pytest.mark.parametrize("giver, taker", [("alice", "bob"), ("alice", "stan"), ("stan", "alice")])
def test_values(client, giver, taker, name):
    value = client.submit(make, name, workers=giver, pure=False)
    assert client.submit(is_same, name, value, workers=taker, pure=False).result()


def test_workers_of_one_host_share(client):
    x = client.submit(numpy.ones, COUNT, workers="alice", pure=False)
    with watched(client, "alice") as found:
        assert client.submit(numpy.sum, x, workers="bob", pure=False).result() == COUNT
    assert found["outgoing_shared_bytes_total"] == 8 * COUNT
    harness.eventually(
        lambda: transfers(client, "bob")["incoming_bytes"] == 0, 20, "no transfer is under way"
    )


def test_stock_is_sent_bytes(client):
    x = client.submit(numpy.ones, COUNT, workers="alice", pure=False)
    with watched(client, "alice") as found:
        assert client.submit(numpy.sum, x, workers="stan", pure=False).result() == COUNT
    assert found["outgoing_shared_bytes_total"] == 0


@pytest.mark.parametrize("taker", ["bob", "stan"])
def test_who_writes_to_an_input_writes_to_its_own(client, taker):
    x = client.submit(numpy.zeros, COUNT, workers="alice", pure=False)
    assert client.submit(write_there, x, workers=taker, pure=False).result() == (1, 1)
    assert client.submit(numpy.sum, x, workers="alice", pure=False).result() == 0


def test_memory_is_not_used_again_while_somebody_has_it(client):
    """Bob keeps the very array that it was given; alice has dropped it and fills the memory of others."""
    x = client.submit(numpy.ones, COUNT, workers="alice", pure=False)
    kept = client.submit(itself, x, workers="bob", pure=False)
    kept.result()
    del x
    for i in range(8):
        other = client.submit(numpy.full, COUNT, i, workers="alice", pure=False)
        assert client.submit(numpy.sum, other, workers="bob", pure=False).result() == COUNT * i
        del other
    assert client.submit(numpy.sum, kept, workers="bob", pure=False).result() == COUNT


def test_switched_off(make_cluster):
    off = {"DASK_CASK__WORKER__SHARE_MEMORY": "False"}
    cluster = make_cluster("alice", "bob", env=off)
    with Client(cluster.address, timeout=20) as client:
        x = client.submit(numpy.ones, COUNT, workers="alice", pure=False)
        with watched(client, "alice") as found:
            assert client.submit(numpy.sum, x, workers="bob", pure=False).result() == COUNT
        assert found["outgoing_shared_bytes_total"] == 0
        for name in VALUES:
            value = client.submit(make, name, workers="alice")
            assert client.submit(is_same, name, value, workers="bob").result()


@pytest.mark.parametrize("shares", ["True", "False"])
def test_the_giver_dies(make_cluster, shares):
    """Of what came, nothing is lost with it; the rest is computed again."""
    setting = {"DASK_CASK__WORKER__SHARE_MEMORY": shares}
    cluster = make_cluster("alice", "bob", env=setting)
    with Client(cluster.address, timeout=20) as client:
        come = client.submit(numpy.ones, COUNT, workers="alice", pure=False)
        kept = client.submit(itself, come, workers="bob", pure=False)
        kept.result()
        others = [
            client.submit(numpy.full, COUNT, i, workers=["alice", "bob"], pure=False)
            for i in range(20)
        ]
        sums = [client.submit(numpy.sum, x, workers="bob", pure=False) for x in others]
        sums[0].result()
        cluster.workers["alice"].kill()
        assert client.gather(sums) == [COUNT * i for i in range(20)]
        assert client.submit(numpy.sum, kept, workers="bob", pure=False).result() == COUNT


@pytest.mark.parametrize("shares", ["True", "False"])
def test_the_giver_dies_while_it_is_asked(make_cluster, shares):
    """It stands still, so that the transfer is under way for sure, and is killed"""
    cluster = make_cluster("alice", "bob", env={"DASK_CASK__WORKER__SHARE_MEMORY": shares})
    with Client(cluster.address, timeout=20) as client:
        where = {"workers": "alice", "allow_other_workers": True, "pure": False}
        before = client.submit(numpy.ones, COUNT, **where)
        assert client.submit(numpy.sum, before, workers="bob", pure=False).result() == COUNT
        x = client.submit(numpy.full, COUNT, 7, **where)
        wait(x)
        bob = cluster.addresses()["bob"]
        cluster.workers["alice"].popen.send_signal(signal.SIGSTOP)
        total = client.submit(numpy.sum, x, workers="bob", pure=False)

        def state():
            return harness.ask(bob, "dump_state")["tasks"].get(x.key, {}).get("state")

        harness.eventually(lambda: state() == "flight", 20, "bob waits for alice")
        cluster.workers["alice"].kill()
        assert total.result(timeout=60) == 7 * COUNT
        assert client.submit(numpy.sum, before, workers="bob", pure=False).result(timeout=60) == COUNT


ELSEWHERE = """
from distributed.comm.core import Comm

def handshake_info(comm, ours=Comm.handshake_info):
    return {**ours(comm), "cask-share": "@cask-of-another-network-namespace"}

Comm.handshake_info = handshake_info
"""


@contextlib.contextmanager
def apart(tmp_path):
    """Workers `alice` and `far`, which is in a network namespace of its own"""
    port_of_alice, port_of_far = harness.free_port(), harness.free_port()
    cluster = harness.Cluster(command=SCHEDULERS["cask"])
    try:
        start_cask(cluster, "alice", options=["--worker-port", str(port_of_alice)])
        ports_out = (cluster.scheduler.port, port_of_alice)
        with namespace.passage(tmp_path, ports_out, port_of_far) as prefix:
            options = ["--worker-port", str(port_of_far)]
            cluster.start_workers("far", command=f"{prefix} {harness.CASK_WORKER}", options=options)
            with Client(cluster.address, timeout=20) as client:
                yield cluster, client
    finally:
        cluster.close()


@pytest.mark.skipif(namespace.why_not() != "", reason=f"no network namespace here: {namespace.why_not()}")
def test_another_network_namespace(tmp_path):
    """Workers that share a host, but not its network namespace, send each other bytes"""
    with apart(tmp_path) as (cluster, client):
        inside = os.readlink(f"/proc/{cluster.workers['far'].pid}/ns/net")
        assert inside != os.readlink("/proc/self/ns/net")
        for giver, taker in ("far", "alice"), ("alice", "far"):
            for name in ("array", "frame", "small"):
                value = client.submit(make, name, workers=giver, pure=False)
                assert client.submit(is_same, name, value, workers=taker, pure=False).result()
            assert transfers(client, taker)["incoming_shared_bytes_total"] == 0


def test_a_giver_of_another_namespace(make_cluster, tmp_path):
    """The name that it offers leads nowhere here: it is asked by TCP, and is so the next time"""
    (tmp_path / "elsewhere.py").write_text(ELSEWHERE)
    cluster = make_cluster("alice")
    cluster.start_workers("far", options=["--preload", str(tmp_path / "elsewhere.py")])
    with Client(cluster.address, timeout=20) as client:
        for name in ("array", "small"):
            value = client.submit(make, name, workers="far", pure=False)
            assert client.submit(is_same, name, value, workers="alice", pure=False).result()
        assert transfers(client, "alice")["incoming_shared_bytes_total"] == 0


def test_log_of_transfers(mixed, client):
    """A dump of a worker has its last transfers, both ways, with stock's fields"""
    for name in ("bob", "stan"):  # a value each, as who has got one may give it
        x = client.submit(numpy.ones, COUNT, workers="alice", key=f"logged-{name}")
        client.submit(numpy.sum, x, workers=name, pure=False).result()
    addresses = mixed.addresses()

    def log_of(name, way):
        dump = harness.ask(addresses[name], "dump_state", exclude=["log", "logs", "tasks", "config"])
        return [entry for entry in dump[f"transfer_{way}_log"] if "logged" in str(entry["keys"])]

    given = harness.eventually(lambda: len(log := log_of("alice", "outgoing")) == 2 and log, 20, "alice logs both")
    assert [entry["who"] for entry in given] == [addresses["bob"], addresses["stan"]]
    for entry in (*given, *log_of("bob", "incoming")):
        assert list(entry["keys"].values()) == [entry["total"]] and entry["total"] >= 8 * COUNT
        assert entry["start"] <= entry["middle"] <= entry["stop"] and entry["duration"] >= 0.001
        assert entry["bandwidth"] == entry["total"] / entry["duration"]
    (taken,) = log_of("bob", "incoming")
    (like_stock,) = log_of("stan", "incoming")
    assert set(taken) == set(like_stock) and taken["who"] == like_stock["who"] == addresses["alice"]
