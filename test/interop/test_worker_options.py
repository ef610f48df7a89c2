"""What `cask worker` is told: every option of `dask worker`, addresses, sizes, files."""

from __future__ import annotations

import json
import logging
import os
import shlex
import subprocess
import sys

import pytest
from dask.system import CPU_COUNT
from distributed import Client, Worker
from distributed.cli.dask_worker import main as dask_worker
from distributed.deploy.utils import nprocesses_nthreads
from distributed.worker_memory import parse_memory_limit

import harness

FEW = {"DASK_CASK__WORKER__SPARES": "0"}  # nothing here dies


def add(x, y):
    return x + y


def test_as_a_module_of_python():
    """How tools start workers that know Pythons only, dask-jobqueue for one; it is the worker itself that they then kill"""
    path = os.pathsep.join([f"{harness.ROOT}/python", str(harness.HERE)])
    cluster = harness.Cluster(env=FEW)
    try:
        cluster.start_workers("w", command=f"{sys.executable} -m cask.worker", env={"PYTHONPATH": path})
        with Client(cluster.address) as client:
            assert client.submit(add, 1, 2).result() == 3
            ((parent, python),) = client.run(lambda: (os.getppid(), sys.executable)).values()
        assert (parent, python) == (cluster.workers["w"].pid, sys.executable)
    finally:
        cluster.close()


def test_every_option_of_dask_worker():
    """By name, with a value where it has one, negatable where it is"""
    cask = shlex.split(harness.CASK_WORKER)[0]
    table = json.loads(subprocess.check_output([cask, "internals", "options", "--json"]))
    (ours,) = [command["options"] for command in table if command["command"] == "worker"]
    takes = {option["name"]: option["argument"] != "" for option in ours}
    missing = []
    for option in dask_worker.params:
        if option.param_type_name != "option" or option.name in ("help", "version"):
            continue
        for name in option.opts + option.secondary_opts:
            name = name.removeprefix("--")
            base = name.removeprefix("no-") if "--" + name in option.secondary_opts else name
            if takes.get(base) is not (not option.is_flag):
                missing.append(name)
    assert missing == []


@pytest.fixture
def start():
    """start(name, *options): one more worker of a cluster of cask's; start.cluster"""
    cluster = harness.Cluster(env=FEW)

    def begin(name, *options, **kwargs):
        cluster.start_workers(name, command=harness.CASK_WORKER, options=options, **kwargs)

    begin.cluster = cluster
    yield begin
    cluster.close()


def works(cluster, names):
    """Each runs a task with an input of each other"""
    with Client(cluster.address, timeout=20) as client:
        inputs = [client.submit(add, i, 1, workers=[name], pure=False) for i, name in enumerate(names)]
        sums = [client.submit(sum, inputs, workers=[name], pure=False) for name in names]
        total = sum(range(1, len(names) + 1))
        assert client.gather(sums) == [total] * len(names)


def ports_of(infos, key="address"):
    return [int(info[key].rpartition(":")[2]) for info in infos]


def test_addresses(start):
    """Where workers listen, what they say where they are, and that peers reach them there"""
    port, other, first = harness.free_port(), harness.free_port(), harness.free_port()
    start("fixed", "--worker-port", str(port), wait=False)
    start(
        "told", "--listen-address", f"tcp://0.0.0.0:{other}", "--contact-address", f"tcp://127.0.0.2:{other}", wait=False
    )
    start("hosted", "--host", "127.0.0.3", wait=False)
    start("named", "--host", "localhost", wait=False)
    start("loopback", "--interface", "lo", wait=False)
    ranges = ["--worker-port", f"{first}:{first + 9}", "--nanny-port", f"{first + 10}:{first + 19}"]
    start("many", "--nworkers", "2", *ranges, nanny=True, wait=False)
    cluster = start.cluster
    names = ["fixed", "told", "hosted", "named", "loopback", "many-0", "many-1"]
    cluster.wait_for(*names)
    found = cluster.addresses()
    assert found["fixed"].endswith(f":{port}")
    assert found["told"] == f"tcp://127.0.0.2:{other}"
    assert found["hosted"].startswith("tcp://127.0.0.3:")
    assert found["named"].startswith("tcp://127.0.0.1:")
    assert found["loopback"].startswith("tcp://127.0.0.1:")
    infos = cluster.infos()
    many = [found["many-0"], found["many-1"]]
    assert sorted(int(a.rpartition(":")[2]) - first for a in many) == [0, 1]
    assert sorted(ports_of([infos["many-0"], infos["many-1"]], "nanny")) == [first + 10, first + 11]
    works(cluster, names)


def test_a_protocol_of_its_own(start):
    """Peers and the scheduler reach it there, though they are elsewhere"""
    start("alice", "--protocol", "ws", wait=False)
    start("bob")
    start.cluster.wait_for("alice")
    assert start.cluster.addresses()["alice"].startswith("ws://")
    works(start.cluster, ["alice", "bob"])


def test_encryption(certificate, security):
    """Options for the worker's certificates; what tasks ask clients for uses them, too"""
    cert, key = certificate
    options = ["--tls-ca-file", cert, "--tls-cert", cert, "--tls-key", key]
    cluster = harness.Cluster(*options, host="tls://127.0.0.1", security=security, env=FEW)
    try:
        cluster.start_workers("alice", command=harness.CASK_WORKER, options=options, nanny=True, nthreads=2)
        assert cluster.addresses()["alice"].startswith("tls://")
        with Client(cluster.address, security=security, timeout=20) as client:

            def inside():
                from distributed import get_client

                return get_client().submit(add, 1, 2).result()

            def of_the_nanny(dask_worker):
                return dask_worker.scheduler.addr

            assert client.submit(inside).result(timeout=30) == 3
            assert list(client.run(of_the_nanny, nanny=True).values()) == [cluster.address]
    finally:
        cluster.close()


def test_files(tmp_path):
    """--scheduler-file, --pid-file, --local-directory; a name that is a number is one"""
    found, pid, scratch = tmp_path / "scheduler.json", tmp_path / "pid", tmp_path / "scratch"
    cluster = harness.Cluster("--scheduler-file", str(found), env=FEW)
    process = None
    try:
        options = ["--scheduler-file", str(found), "--pid-file", str(pid), "--no-dashboard"]
        options += ["--local-directory", str(scratch), "--name", "7", "--nthreads", "1"]
        command = [*shlex.split(harness.CASK_WORKER), *options]
        process = harness.Process("by-file", command, env=FEW)
        info = harness.eventually(lambda: cluster.infos().get(7))
        assert info["local_directory"].startswith(str(scratch / "dask-scratch-space" / "worker-"))
        assert int(pid.read_text()) == process.pid
        process.popen.terminate()
        assert process.wait(20) == 0
        assert not pid.exists() and not os.path.exists(info["local_directory"])
    finally:
        if process is not None:
            process.close()
        cluster.close()


@pytest.mark.parametrize("limit, threads", [("0", 1), ("0.25", 1), ("3e8", 1), ("500 MiB", 1), ("auto", 1), ("auto", 2)])
def test_memory_limit(start, limit, threads):
    """As stock reads it"""
    start("alice", memory=limit, nthreads=threads)
    expected = parse_memory_limit(limit, threads, CPU_COUNT, logger=logging.getLogger("memory"))
    assert start.cluster.infos()["alice"]["memory_limit"] == (expected or 0)


def test_automatic_numbers():
    """--nworkers auto: by the CPUs, as stock; a negative number leaves some out"""
    cluster = harness.Cluster(env=FEW)
    processes = []
    try:
        for name, wanted in (("auto", "auto"), ("most", str(-CPU_COUNT))):
            options = ["--name", name, "--nworkers", wanted, "--no-dashboard", "--no-nanny"]
            command = [*shlex.split(harness.CASK_WORKER), cluster.address, *options]
            processes.append(harness.Process(name, command, env=FEW))
        count, threads = nprocesses_nthreads()
        names = [f"auto-{i}" for i in range(count)] if count > 1 else ["auto"]
        cluster.wait_for(*names, "most")
        infos = cluster.infos()
        assert len(infos) == count + 1
        assert [infos[name]["nthreads"] for name in names] == [threads] * count
        assert infos["most"]["nthreads"] == CPU_COUNT
    finally:
        for process in processes:
            process.close()
        cluster.close()


def test_stock_class_by_name(start):
    """The default of dask worker, given"""
    start("alice", "--worker-class", f"{Worker.__module__}.Worker")
    works(start.cluster, ["alice"])
