"""Clusters with cask workers, under cask's scheduler and under stock's: fixtures for test_worker_*.py."""

from __future__ import annotations

import sys

import pytest
from distributed import Client

import harness

SCHEDULERS = {
    "cask": harness.SCHEDULER_CMD,
    "stock": f"{sys.executable} -m dask scheduler --no-dashboard",
}


def start_cask(cluster, *names, **options):
    cluster.start_workers(*names, command=harness.CASK_WORKER, **options)


@pytest.fixture(scope="module", params=SCHEDULERS)
def mixed(request):
    """Cask workers `alice` (2 threads) and `bob` (1), and a stock one, `stan`, with the module's CLUSTER_ENV"""
    env = getattr(request.module, "CLUSTER_ENV", None)
    cluster = harness.Cluster(command=SCHEDULERS[request.param], env=env)
    start_cask(cluster, "alice", nthreads=2, wait=False)
    start_cask(cluster, "bob", wait=False)
    cluster.start_workers("stan", wait=False)
    cluster.wait_for("alice", "bob", "stan")
    yield cluster
    cluster.close()


@pytest.fixture
def client(mixed):
    with Client(mixed.address, timeout=20) as client:
        yield client
    harness.eventually(mixed.empty, 20, "the scheduler forgot all tasks")


@pytest.fixture(params=SCHEDULERS)
def make_cluster(request):
    """A cluster of one's own, for tests that hurt it: make_cluster("alice", …)"""
    made = []

    def make(*names, env=None, **options):
        env = {**getattr(request.module, "CLUSTER_ENV", {}), **(env or {})}
        cluster = harness.Cluster(command=SCHEDULERS[request.param], env=env)
        made.append(cluster)
        start_cask(cluster, *names, **options)
        return cluster

    yield make
    for cluster in made:
        cluster.close()
