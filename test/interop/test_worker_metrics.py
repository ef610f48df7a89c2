"""What workers measure of themselves and tell the scheduler: ours beside stock's, field by field."""

from __future__ import annotations

import time

import numpy
import pytest
from distributed import Client, span, wait
from distributed.metrics import context_meter

import harness
from worker_clusters import SCHEDULERS, client, mixed, start_cask  # noqa: F401  (fixtures)


def shape(value, depth=2):
    """Names of fields, and types of numbers as far as msgpack tells them apart"""
    if isinstance(value, dict) and depth:
        return {key: shape(item, depth - 1) for key, item in value.items()}
    return "number" if isinstance(value, (int, float)) else type(value).__name__


SHARED = ("incoming_shared_bytes_total", "outgoing_shared_bytes_total")  # cask's own: by shared memory
OPEN = ("task_counts", "digests_total_since_heartbeat")  # maps by name: fields are what happened


def look(cluster, name):
    info = cluster.infos()[name]
    for field in OPEN:
        info["metrics"][field] = {}
    info["metrics"]["bandwidth"].update(workers={}, types={})
    return info


def test_the_same_fields(client, mixed):
    """The scheduler knows the same of a worker of ours as of one of stock's"""

    def same():
        ours, stock = look(mixed, "alice"), look(mixed, "stan")
        for field in SHARED:
            assert ours["metrics"]["transfer"].pop(field) == 0
        assert shape(ours["metrics"]) == shape(stock["metrics"])
        assert set(ours) - {"cask-task-records"} == set(stock)
        return True

    harness.eventually(same, 20)


# ---- in sum: what stock's scheduler makes of it ----


@pytest.fixture(scope="module")
def sums():
    """Stock's scheduler with two workers of ours that write to disk early"""
    environment = {"DASK_DISTRIBUTED__WORKER__MEMORY__TARGET": "0.1", "DASK_CASK__WORKER__SPARES": "0"}
    cluster = harness.Cluster(command=SCHEDULERS["stock"])
    start_cask(cluster, "alice", "bob", env=environment, memory="800 MiB")
    yield cluster
    cluster.close()


@pytest.fixture
def summing(sums):
    with Client(sums.address, timeout=20) as client:
        yield client


def totals(dask_scheduler):
    return dict(dask_scheduler.cumulative_worker_metrics)


def meter():
    with context_meter.meter("dreaming"):
        time.sleep(0.01)
    context_meter.digest_metric("sheep", 3, "count")


def first(x):
    return meter()


def second(x):
    return meter()


def test_fine_metrics_by_span(summing):
    """Where the time of a span's tasks went, what they metered, and the same in sum over all spans"""

    def read(dask_scheduler, span_id):
        return dict(dask_scheduler.extensions["spans"].spans[span_id].cumulative_worker_metrics)

    with span("one") as one:
        wait(summing.map(first, range(5), pure=False))
    with span("two") as two:
        wait(summing.map(second, range(3), pure=False))

    def counted():
        spans = [summing.run_on_scheduler(read, span_id=id) for id in (one, two)]
        everything = summing.run_on_scheduler(totals)
        for found, name, count in zip(spans, ("first", "second"), (15, 9)):
            assert found["execute", name, "sheep", "count"] == count
            assert everything["execute", name, "sheep", "count"] == count
            for activity in ("thread-cpu", "thread-noncpu", "dreaming"):
                assert found["execute", name, activity, "seconds"] > 0
        assert not any("first" in name for name in spans[1])
        return True

    harness.eventually(counted, 30)


def test_transfers_and_the_store(summing):
    """Bytes to and from the disk, and the time that transfers took"""
    arrays = [summing.submit(numpy.random.random, 1_000_000, workers="alice", pure=False) for _ in range(20)]
    wait(arrays)
    moved = [summing.submit(numpy.sum, array, workers="bob", pure=False) for array in arrays]
    wait(moved)

    def counted():
        everything = summing.run_on_scheduler(totals)
        assert everything["gather-dep", "network", "seconds"] > 0
        assert everything["transfer-duration"] > 0 and everything["latency"] > 0
        assert everything["memory-monitor", "disk-write", "bytes"] > 8_000_000
        assert everything["memory-monitor", "disk-write", "count"] >= 1
        assert everything["get-data", "disk-read", "bytes"] > 8_000_000
        return True

    harness.eventually(counted, 30)


def test_user_metrics(summing):
    """digest_metric() of user code, by name and by span"""

    def meter(dask_worker):
        dask_worker.digest_metric("cask-test-digest", 2.5)
        dask_worker.digest_metric(("p2p", None, "foreground", "cask-test", "count"), 4)

    summing.run(meter)

    def counted():
        everything = summing.run_on_scheduler(totals)
        assert everything["cask-test-digest"] == pytest.approx(5)
        assert everything["p2p", "foreground", "cask-test", "count"] == 8
        return True

    harness.eventually(counted, 30)
