"""Dask's own tests on cask's clusters: a pytest plugin; suites.sh runs it.

`distributed.LocalCluster`, and what `Client()` makes without an address, are cask's; with --stock they stay Dask's.
With --on-a-cluster what a test computes without saying where is computed on one such cluster, of 2 workers
with 2 threads, instead of in the test's own process.  Nothing that a test asks for is changed.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib

import dask
import pytest

MODULES_OF_ASSERT_EQ = ["dask.array.utils", "dask.bag.utils", "dask.dataframe.utils"]


def pytest_addoption(parser):
    group = parser.getgroup("cask")
    group.addoption("--stock", action="store_true", help="Dask's own LocalCluster, to compare with")
    group.addoption("--on-a-cluster", action="store_true", help="compute on a cluster")
    group.addoption("--certificates", help="folder of those that distributed.utils_test reads")
    group.addoption("--sample", type=int, help="of each file only N tests, always the same ones")


def pytest_configure(config):
    # The suites name it, strictly; it is of pytest-rerunfailures, which hides what is looked for here.
    config.addinivalue_line("markers", "flaky(reruns, reruns_delay): fails now and then")
    if not config.getoption("--stock"):
        import cask
        from cask.local_cluster.keeper import start_child

        cask.install()
        start_child(["true"], {}, None).result().ended.result()  # its thread stays: no test leaks it
    if (folder := config.getoption("--certificates")) is not None:
        importlib.import_module("distributed.utils_test").certs_dir = folder
    if config.getoption("--on-a-cluster"):
        for name in MODULES_OF_ASSERT_EQ:
            compute_on_the_cluster(importlib.import_module(name).assert_eq)


def compute_on_the_cluster(assert_eq):
    """assert_eq computes with scheduler="sync" if a test does not say"""
    assert "sync" in assert_eq.__defaults__
    assert_eq.__defaults__ = tuple("distributed" if d == "sync" else d for d in assert_eq.__defaults__)


def pytest_collection_modifyitems(config, items):
    if (size := config.getoption("--sample")) is None:
        return
    by_file = {}
    for item in sorted(items, key=lambda item: hashlib.sha256(item.name.encode()).digest()):
        by_file.setdefault(item.path, []).append(item)
    kept = {item for of_file in by_file.values() for item in of_file[:size]}
    config.hook.pytest_deselected(items=[item for item in items if item not in kept])
    items[:] = [item for item in items if item in kept]


@pytest.fixture(scope="session")
def client_of_the_session(request):
    if not request.config.getoption("--on-a-cluster"):
        yield None
        return
    from distributed import Client, LocalCluster

    with (
        LocalCluster(n_workers=2, threads_per_worker=2, dashboard_address=":0") as cluster,
        Client(cluster) as client,
    ):
        yield client


@pytest.fixture(autouse=True)
def computes_on_the_cluster(client_of_the_session):
    with contextlib.ExitStack() as stack:
        if client_of_the_session is not None:
            stack.enter_context(client_of_the_session.as_current())
            stack.enter_context(dask.config.set(scheduler=client_of_the_session.get))
        yield
