"""The text "Advanced distributed" (003): persist, asynchronous computation, a cluster object."""

import asyncio
import re
import statistics
import sys
from random import uniform

import dask
import dask.array as da
import h5py
import numpy as np
import pytest
from distributed import Client, Nanny, SpecCluster, as_completed, futures_of, wait
from distributed.deploy.spec import ProcessInterface
from harness import Scheduler, eventually
from tasks import slowinc


class SchedulerProcess(ProcessInterface):
    """The scheduler under test, as SpecCluster wants a scheduler"""

    async def start(self):
        self.process = await asyncio.to_thread(Scheduler)
        self.address = self.process.address
        await super().start()

    async def close(self):
        if self.status.name != "closed":
            await asyncio.to_thread(self.process.close)
            await super().close()


@pytest.fixture
def make_spec_cluster():
    clusters = []

    def make(n_workers, **options):
        options = {"nthreads": 1, "memory_limit": "1GiB", "dashboard_address": None, **options}
        worker = {"cls": Nanny, "options": options}
        scheduler = {"cls": SchedulerProcess, "options": {}}
        cluster = SpecCluster(
            scheduler=scheduler, worker=worker, workers={i: worker for i in range(n_workers)}
        )
        clusters.append(cluster)
        return cluster

    yield make
    for cluster in clusters:
        cluster.close()


@pytest.mark.seed("S37", "S68", "S152", "S153", "S154", "S155", "S156", "S157", "S186")
def test_client_of_a_cluster_object(make_spec_cluster):
    cluster = make_spec_cluster(2, local_directory=None)
    with Client(cluster) as client:
        info = client.scheduler_info()
        workers = info["workers"].values()
        assert {w["name"] for w in workers} == {0, 1}
        assert {w["memory_limit"] for w in workers} == {2**30}
        assert all("dask-scratch-space/worker-" in w["local_directory"] for w in workers)
        assert all(w["nanny"].startswith("tcp://") for w in workers)

        html = re.sub(r"<[^>]+>|\s+", " ", client._repr_html_())
        for text in ("Connection method: Cluster object", "Cluster type:", "Workers: 2"):
            assert text in re.sub(" +", " ", html)
        for text in (info["address"], "Started:", "Total threads:", "Total memory:", "Nanny:"):
            assert text in html
        for worker in workers:
            assert worker["local_directory"] in html
        assert "2.00 GiB" in html


@pytest.mark.seed("S114")
def test_adapt_keeps_the_pool_in_bounds(make_spec_cluster):
    cluster = make_spec_cluster(0)
    cluster.adapt(minimum=1, maximum=3, interval="100ms", wait_count=2)
    with Client(cluster) as client:
        client.wait_for_workers(1, timeout=20)
        futures = client.map(slowinc, range(60), delay=0.2, pure=False)
        client.wait_for_workers(3, timeout=20)
        assert len(cluster.worker_spec) <= 3
        assert client.gather(futures) == list(range(1, 61))
        del futures
        eventually(lambda: len(client.scheduler_info()["workers"]) == 1, 20)
        # what one worker holds survives when the others leave
        assert client.submit(slowinc, 1).result() == 2


def test_scale_by_hand(make_spec_cluster):
    cluster = make_spec_cluster(1)
    with Client(cluster) as client:
        cluster.scale(2)
        client.wait_for_workers(2, timeout=20)
        futures = client.map(slowinc, range(20), delay=0.01)
        wait(futures)
        cluster.scale(1)
        eventually(lambda: len(client.scheduler_info()["workers"]) == 1, 20)
        # SpecCluster names the worker to retire_workers where stock wants an address, so data
        # may be lost with it; then they are computed again
        assert client.gather(futures) == list(range(1, 21))


@pytest.mark.seed("S158", "S159", "S160", "S161", "S162")
def test_persist_loads_once(client, tmp_path):
    path = tmp_path / "random.hdf5"
    data = np.random.default_rng(1).normal(size=4000)
    with h5py.File(path, "w") as file:
        file["x"] = data
    loads = tmp_path / "loads"
    loads.touch()

    class Dataset:
        """A data set that notes each read"""

        shape, dtype, ndim = data.shape, data.dtype, 1

        def __getitem__(self, index):
            with open(loads, "a") as note:
                note.write("x")
            with h5py.File(path, "r") as file:
                return file["/x"][index]

    x = da.from_array(Dataset(), chunks=(1000,), meta=data[:0])
    for loaded in (4, 8):
        assert x.sum().compute() == pytest.approx(data.sum())
        assert len(loads.read_text()) == loaded

    x = client.persist(x)
    wait(x)
    assert [f.status for f in futures_of(x)] == ["finished"] * 4
    for _ in range(2):
        assert x.sum().compute() == pytest.approx(data.sum())
        assert len(loads.read_text()) == 12


@pytest.mark.seed("S160")
def test_h5py_handles_travel(client, tmp_path):
    data = np.arange(4000.0)
    with h5py.File(tmp_path / "random.hdf5", "w") as file:
        file["x"] = data
    with h5py.File(tmp_path / "random.hdf5", mode="r") as f:
        x = da.from_array(f["/x"], chunks=(1000,))
        assert x.sum().compute() == data.sum()


@pytest.mark.seed("S164")
def test_memory_goes_with_the_last_reference(client):
    x = da.ones(1000, chunks=250).persist()
    y = x
    wait(x)
    assert sum(map(len, client.has_what().values())) == 4
    del x
    assert sum(map(len, client.has_what().values())) == 4
    del y
    eventually(lambda: not any(client.has_what().values()), 10, "memory is released")


def rosenbrock(point):
    """Compute the rosenbrock function and return the point and result"""
    import time

    time.sleep(0.01)  # the text has 0.1: made shorter
    score = (1 - point[0]) ** 2 + 2 * (point[1] - point[0] ** 2) ** 2
    return point, score


@pytest.mark.seed("S165", "S166", "S167", "S168", "S170")
def test_rosenbrock_search_adds_points_as_results_come(client, capsys):
    rosenbrock.__module__ = "__main__"
    client.get_task_stream()  # stock records from the first call on
    scale = 5  # Initial random perturbation scale
    best_point = (0, 0)  # Initial guess
    best_score = float("inf")  # Best score so far
    startx = [uniform(-scale, scale) for _ in range(10)]
    starty = [uniform(-scale, scale) for _ in range(10)]

    # initial 10 random points
    futures = [client.submit(rosenbrock, (x, y)) for x, y in zip(startx, starty, strict=True)]
    iterator = as_completed(futures)
    scores = []
    for res in iterator:
        # take a completed point, is it an improvement?
        point, score = res.result()
        scores.append(score)
        if score < best_score:
            best_score, best_point = score, point
            print(score, point)

        x, y = best_point
        newx, newy = (x + uniform(-scale, scale), y + uniform(-scale, scale))

        # add new point, dynamically, to work on the cluster
        new_point = client.submit(rosenbrock, (newx, newy))
        iterator.add(new_point)  # Start tracking new task as well

        # Narrow search and consider stopping
        scale *= 0.97
        if scale < 0.005:
            break

    assert len(scores) > 200
    assert best_score == min(scores) < statistics.median(scores)
    assert capsys.readouterr().out.count("\n") >= 1
    spans = [s for row in client.get_task_stream(start="30s") for s in row["startstops"]]
    spans = sorted((s["start"], s["stop"]) for s in spans if s["action"] == "compute")
    assert any(b[0] < a[1] for a, b in zip(spans, spans[1:], strict=False))  # they overlapped


@pytest.mark.seed("S203")
def test_the_newest_client_is_the_default_scheduler(client):
    where = dask.delayed(lambda: __import__("os").getpid())
    assert where().compute() in client.run(__import__("os").getpid).values()
    assert where().compute() != sys.modules["os"].getpid()
