"""Executors of a cask worker are forked from one that has imported everything: what they have in common, and what not."""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import tempfile
import threading
import uuid

import numpy
import pytest
from distributed import Client

import harness
from test_worker_death import fails, segfault
from worker_clusters import SCHEDULERS, start_cask

CLUSTER_ENV = {"DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "0"}
PRELOAD = """
import os, threading

def dask_setup(worker):
    worker.who_preloaded = os.getpid()
    threading.Thread(target=threading.Event().wait, daemon=True).start()
"""


def make_cluster(*names, env=None, **options):
    """Under cask's scheduler: executors do not know whose it is"""
    cluster = harness.Cluster(command=SCHEDULERS["cask"], env={**CLUSTER_ENV, **(env or {})})
    start_cask(cluster, *names, nthreads=2, **options)
    return cluster


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """A worker, `twin`, with two executors, whose preload module starts a thread"""
    preload = tmp_path_factory.mktemp("preload") / "starts_threads.py"
    preload.write_text(PRELOAD)
    cluster = make_cluster("twin", options=["--executors", "2", "--preload", str(preload)])
    yield cluster
    cluster.close()


@pytest.fixture
def client(cluster):
    with Client(cluster.address, timeout=20) as client:
        yield client


def in_each(client, function):
    """What it gives in each of two processes"""
    found = {}

    def look():
        for pid, value in client.gather(client.map(slowly, [function] * 4, pure=False)):
            found.setdefault(pid, value)
        return len(found) == 2

    harness.eventually(look)
    return found


def slowly(function):
    threading.Event().wait(0.02)
    return os.getpid(), function()


def random_things():
    """What must not be the same twice"""
    return (
        random.random(),
        numpy.random.random(),
        uuid.uuid1(),
        uuid.uuid4(),
        next(tempfile._get_candidate_names()),
        random.SystemRandom().random(),
    )


def test_nothing_random_is_the_same(client):
    first, second = in_each(client, random_things).values()
    assert not set(first) & set(second)


def identity(dask_worker=None):
    """Of a process and its main thread, from wherever somebody keeps them"""
    from distributed import get_worker

    main = threading.main_thread()
    with open("/proc/self/smaps_rollup") as file:
        sizes = dict(line.split()[:2] for line in list(file)[1:])
    return {
        "parent": os.getppid(),
        "group": os.getpgid(0),
        "main": main.native_id,
        "signalled": signal.pthread_kill(main.ident, 0),
        "preloaded": get_worker().who_preloaded,
        "forked": int(sizes["Shared_Dirty:"]) > 4096,
        "line": os.readlink("/proc/self/fd/0"),
    }


def test_who_they_are(cluster, client):
    """Children of the worker in groups of their own, which know their numbers and share pages; what user code has loaded it
    has loaded in each of them"""
    found = in_each(client, identity)
    for pid, about in found.items():
        assert about == {
            "parent": cluster.workers["twin"].pid,
            "group": pid,
            "main": pid,
            "signalled": None,
            "preloaded": pid,
            "forked": True,
            "line": "/dev/null",
        }


def test_one_after_another(cluster, client):
    """Each that dies is told with its frames, and the one that is forked in its place is like it"""
    for _ in range(3):
        fails(client.submit(segfault, pure=False), "SIGSEGV", "native frames", "in string_at")
        found = in_each(client, identity)
        assert all(about["forked"] and about["preloaded"] == pid for pid, about in found.items())
    assert "cannot be forked" not in cluster.workers["twin"].log()


def in_a_pool(start):
    with multiprocessing.get_context(start).Pool(1) as pool:
        return pool.apply(os.getppid) == os.getpid()


@pytest.mark.parametrize("start", ["fork", "spawn"])
def test_their_own_children(client, start):
    """Pools inside tasks"""
    assert client.submit(in_a_pool, start).result(timeout=60)


def test_library_that_starts_threads(tmp_path):
    """Then no executor is forked, each is started: which works as well"""
    (tmp_path / "sitecustomize.py").write_text(
        "import sys, threading\n"
        "if 'cask.executor' in sys.orig_argv:\n"
        "    threading.Thread(target=threading.Event().wait, daemon=True).start()\n"
    )
    path = os.pathsep.join([str(tmp_path), str(harness.HERE)])
    cluster = make_cluster("threaded", options=["--executors", "2"], env={"PYTHONPATH": path})
    try:
        with Client(cluster.address, timeout=20) as client:
            pids = in_each(client, os.getpid)
            fails(client.submit(segfault, pure=False), "SIGSEGV")
            assert set(in_each(client, os.getpid)) != set(pids)
        assert "modules have started threads (1)" in cluster.workers["threaded"].log()
    finally:
        cluster.close()
