"""Every cell of the seed texts that makes a local cluster, or works on one: what changes is the import alone.

The texts are those that PROMISES.md numbers; the tests stand in their order. Where a text shows what Dask no longer has
(`nanny=False`, `cluster.scheduler.processing`), cask.LocalCluster has it.
"""

import math
import os
import random
import re
import time

import dask
import dask.array as da
import dask.bag as db
import dask.dataframe as dd
import distributed
import h5py
import numpy as np
import pandas as pd
import pytest
from dask import delayed
from dask.diagnostics import ProgressBar
from dask.distributed import as_completed, futures_of, get_task_stream, get_worker, performance_report, progress, wait
from distributed.worker_state_machine import TaskState

from cask import Client, LocalCluster
from harness import eventually


@pytest.fixture(scope="module")
def made():
    """Client(n_workers=4), as the last of the texts has it"""
    with Client(n_workers=4, threads_per_worker=1, set_as_default=False) as client:
        yield client


@pytest.fixture
def client(made):
    """The default client, while a test runs"""
    with made.as_current(), dask.config.set(scheduler="dask.distributed"):
        yield made


# 000: debugging


@pytest.mark.seed("S37", "S183")
def test_client_is_cluster_and_client():
    with Client() as client:
        assert isinstance(client.cluster, LocalCluster)
        assert client.submit(sum, [1, 2]).result() == 3
    with LocalCluster() as cluster, Client(cluster.scheduler.address) as client:
        assert client.submit(sum, [1, 2]).result() == 3


@pytest.mark.seed("S38", "S39", "S41")
def test_processing_of_the_scheduler():
    cluster = LocalCluster(n_workers=1, threads_per_worker=1)
    with cluster, Client(cluster) as client:
        future = client.submit(time.sleep, 600)
        (address,) = client.nthreads()
        eventually(lambda: cluster.scheduler.processing == {address: {future.key}})


@pytest.mark.seed("S40", "S41")
def test_workers_without_nannies():
    with LocalCluster(nanny=False) as cluster, Client(cluster) as client:
        future = client.submit(sum, [1, 2])
        assert future.result() == 3
        (worker,) = cluster.workers.values()
        assert isinstance(worker.state.tasks[future.key], TaskState)
        assert worker.data[future.key] == 3


@pytest.mark.seed("S16", "S21")
def test_failed_futures_are_removed(client):
    def load(i):
        if i % 2:
            raise ValueError(i)
        return pd.DataFrame({"x": [i] * 10})

    df = dd.from_delayed([delayed(load)(i) for i in range(4)], meta={"x": int}).persist()
    futures = futures_of(df)
    while any(f.status == "pending" for f in futures):
        time.sleep(0.01)
    good_futures = [f for f in futures if f.status == "finished"]
    assert len(dd.from_delayed(good_futures, meta=df._meta)) == 20


# 001: local exceptions


def dec(x):
    return x - 1


def recip(x):
    return 1 / x


INPUTS = [9, 4, 2, 76, 2, 1, 5]


def locals_of(call, *arguments):
    with pytest.raises(ZeroDivisionError) as caught:
        call(*arguments)
    return caught.traceback[-1].locals


@pytest.mark.seed("S47", "S48", "S50", "S51", "S52", "S57", "S58", "S63", "S64", "S65")
def test_local_exceptions(client):
    c = client
    ddec, drecip, dsum = delayed(dec), delayed(recip), delayed(sum)
    out = dsum([drecip(ddec(x)) for x in INPUTS])
    with pytest.raises(ZeroDivisionError) as caught:
        out.compute()
    assert "return 1 / x" in str(caught.traceback[-1].statement)
    with dask.config.set(scheduler="sync"):
        assert locals_of(out.compute)["x"] == 0
    futs1 = c.map(dec, INPUTS)
    futs2 = c.map(recip, futs1)
    fut3 = c.submit(sum, futs2)
    wait([*futs2, fut3])  # a sum fails with its first failed input, before the others have come
    assert [f.status for f in futs1] == ["finished"] * 7
    assert [f.status for f in futs2] == ["finished"] * 5 + ["error", "finished"]
    assert fut3.status == "error"
    assert futs1[5].result() == 0
    bag2 = c.persist(db.from_sequence(INPUTS).map(dec).map(recip))
    with pytest.raises(ZeroDivisionError):
        bag2.sum().compute()
    assert locals_of(c.recreate_error_locally, c.compute(bag2.sum()))["x"] == 0
    assert locals_of(c.recreate_error_locally, c.compute(out))["x"] == 0
    assert locals_of(c.recreate_error_locally, fut3)["x"] == 0


# 002: data and resiliency


@pytest.mark.seed("S69", "S70")
def test_closures_and_parameters(client):
    outer_scope_list = [1, 2, 3]
    assert client.submit(lambda a_list: sum(a * a for a in a_list), [1, 2, 3]).result() == 14
    assert client.submit(lambda: sum(a * a for a in outer_scope_list)).result() == 14


def test_scatter_and_who_has_what(client):
    medium_array = np.random.uniform(0, 1, (100, 100, 100))
    f = client.scatter(medium_array)
    assert f.status == "finished"
    assert sum(f.key in keys for keys in client.has_what().values()) == 1
    f2 = client.scatter([medium_array[:50], medium_array[50:]])
    assert client.submit(np.sum, f2[0]).result() == pytest.approx(medium_array[:50].sum())


def test_storage_on_a_worker(client):
    def worker_local_demo():
        try:
            local_val = get_worker().data["my_key"]
        except KeyError:
            get_worker().data["my_key"] = "my_val"
            return "stored"
        return local_val

    (first, *_) = client.nthreads()
    answers = [client.submit(worker_local_demo, workers=first, pure=False).result() for _ in range(2)]
    assert answers == ["stored", "my_val"]


@pytest.mark.seed("S72", "S73", "S106", "S107")
def test_csv_in_and_out(client, tmp_path):
    rides = pd.DataFrame({"total_amount": [float(i) for i in range(1000)]})
    rides.to_csv(tmp_path / "rides.csv", index=False)
    df = dd.read_csv(tmp_path / "rides.csv", blocksize=2000)
    assert sum(df.partitions[:2].map_partitions(len).compute()) > 0
    df[df["total_amount"] > 300].to_csv(tmp_path / "expensive-rides", index=False)
    assert dd.read_csv(tmp_path / "expensive-rides" / "*").describe().compute().loc["count"].item() == 699


@pytest.mark.seed("S110", "S135", "S136", "S137", "S138")
def test_exceptions_of_user_code(client, capsys):
    @delayed
    def calculate(n):
        return n / 0

    try:
        calculate(10).compute()
    except Exception as e:
        print(e)
    f = client.submit(lambda x: x / 0, 5)
    assert isinstance(f.exception(), ZeroDivisionError)
    assert type(f.traceback()).__name__ == "traceback"
    try:
        client.recreate_error_locally(f)
    except Exception as e:
        print(e)
    assert capsys.readouterr().out == "division by zero\n" * 2


@pytest.mark.seed("S146", "S148", "S149", "S150")
def test_functions_on_workers(client):
    assert set(client.run(os.cpu_count).values()) == {os.cpu_count()}

    def get_data(dask_worker):
        return [k for k in dask_worker.data.keys()]

    kept = delayed([1, 2, 3]).persist()
    wait(kept)
    keys = {f.key for f in futures_of(kept)}
    found = client.run(get_data)
    assert set(found) == set(client.nthreads())
    assert keys <= {key for held in found.values() for key in held}
    assert set(client.run(dask.config.get, "distributed.worker.memory.spill").values()) == {0.7}


@pytest.mark.seed("S114", "S122")
def test_adapt_and_restart():
    with LocalCluster(n_workers=0, threads_per_worker=1) as cluster, Client(cluster) as client:
        cluster.adapt(minimum=1, maximum=2, interval="20 ms")
        assert client.submit(sum, [1, 2]).result() == 3
        before = client.run(os.getpid)
        client.restart()
        assert not set(client.run(os.getpid).values()) & set(before.values())


@pytest.mark.seed("S124", "S125", "S126")
def test_lifetime():
    with LocalCluster(n_workers=1, lifetime="2s", lifetime_stagger="10 ms", lifetime_restart=True) as cluster:
        first = cluster.workers[0].address
        eventually(lambda: cluster.workers[0].address != first, message="it came back at another address")


# 003: advanced distributed


@pytest.mark.seed("S152", "S153", "S155", "S157")
def test_display(client):
    html = client._repr_html_()
    assert re.search(r"Connection method:</strong> Cluster object", html)
    assert re.search(r"Cluster type:</strong> cask.LocalCluster", html)
    assert re.search(r"Using processes:</strong> True", html)
    assert html.count("Local directory:") == 4
    assert html.count("Nanny:") == 4
    assert "dask-scratch-space/worker-" in html


@pytest.mark.seed("S158", "S160", "S161")
def test_persist_an_hdf5_file(client, tmp_path):
    with h5py.File(tmp_path / "random.hdf5", mode="w") as f:
        f["/x"] = np.arange(1000.0)
    f = h5py.File(tmp_path / "random.hdf5", mode="r")
    x = da.from_array(f["/x"], chunks=(100,))
    assert x.sum().compute() == 499500
    x = client.persist(x)
    wait(x)
    f.close()
    assert x.sum().compute() == 499500


@pytest.mark.seed("S165", "S166", "S167")
def test_asynchronous_computation(client):
    def rosenbrock(point):
        score = (1 - point[0]) ** 2 + 2 * (point[1] - point[0] ** 2) ** 2
        return point, score

    scale, best_point, best_score, count = 5, (0, 0), math.inf, 0
    points = [(random.uniform(-scale, scale), random.uniform(-scale, scale)) for _ in range(10)]
    iterator = as_completed([client.submit(rosenbrock, point) for point in points])
    for res in iterator:
        count += 1
        point, score = res.result()
        if score < best_score:
            best_score, best_point = score, point
        x, y = best_point
        iterator.add(client.submit(rosenbrock, (x + random.uniform(-scale, scale), y + random.uniform(-scale, scale))))
        scale *= 0.9
        if scale < 0.001:
            break
    assert count == 81
    assert best_score < math.inf


@pytest.mark.seed("S171", "S175", "S177", "S178", "S179")
def test_state_of_the_scheduler(client):
    @delayed
    def ratio(a, b):
        return a // b

    def total(inb):
        return delayed(sum)([ratio(a, b) for (a, b) in zip([5, 25, 30], inb)])

    assert client.gather(client.compute(total([5, 5, 6]))) == 11
    f = client.compute(total([5, 0, 6]))
    with pytest.raises(ZeroDivisionError):
        client.gather(f)
    with pytest.raises(ZeroDivisionError), dask.config.set(scheduler="sync"):
        total([5, 0, 6]).compute()
    found = locals_of(client.recreate_error_locally, f)
    assert (found["a"], found["b"]) == (25, 0)
    erred = [(k, v.state) for k, v in client.cluster.scheduler.tasks.items() if v.exception is not None]
    assert (f.key, "erred") in erred


# 004: diagnostics


@pytest.mark.seed("S189", "S190", "S194", "S195", "S196", "S197")
def test_captured_diagnostics(client, tmp_path):
    x = delayed(sum)([delayed(dec)(i) for i in range(20)])
    with get_task_stream(plot="save", filename=str(tmp_path / "task-stream.html")) as ts:
        x.compute()
    assert {row["status"] for row in ts.data} == {"OK"}
    client.profile(filename=str(tmp_path / "dask-profile.html"))
    with performance_report(filename=str(tmp_path / "dask-report.html")):
        x.compute()
    assert {p.name for p in tmp_path.iterdir()} == {"task-stream.html", "dask-profile.html", "dask-report.html"}
    assert all(p.stat().st_size > 1000 for p in tmp_path.iterdir())


@pytest.mark.seed("S199", "S200", "S201", "S202", "S203")
def test_progress_bars(client, capsys):
    x = delayed(sum)([delayed(dec)(i) for i in range(20)])
    with ProgressBar():
        assert x.compute(scheduler="threads") == 170
    x = x.persist()
    progress(x, notebook=False)
    assert x.compute() == 170
    assert capsys.readouterr().out.count("100%") >= 2


