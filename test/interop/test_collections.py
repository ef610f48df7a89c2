"""Whole collections: array, dataframe, bag, delayed, xarray; shuffles between workers."""

import time

import dask
import dask.array as da
import dask.bag as db
import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from dask import delayed
from distributed import WorkerPlugin, futures_of, wait
from harness import KIND
from tasks import double, inc


def test_array(client):
    x = da.random.default_rng(1).random((600, 600), chunks=(100, 100))
    y = (x + x.T)[::2, 100:].mean(axis=0)
    assert y.compute() == pytest.approx(y.compute(scheduler="sync"))
    u, s, v = da.linalg.svd(da.ones((200, 20), chunks=(50, 20)))
    assert s.compute()[0] == pytest.approx(np.sqrt(4000))
    ones = da.ones((100, 100), chunks=20)
    assert (ones @ ones).sum().compute() == 100**3
    masked = x[x > 0.5]
    assert len(masked.compute()) == int((x > 0.5).sum().compute())


@pytest.mark.parametrize("method", ["tasks", "p2p"])
def test_array_rechunk(client, method):
    x = da.arange(90_000, chunks=-1).reshape(300, 300).rechunk((300, 30))
    with dask.config.set({"array.rechunk.method": method}):
        y = x.rechunk((30, 300))
        assert any("p2p" in str(k) for k in y.__dask_graph__()) == (method == "p2p")
        assert (y.compute() == np.arange(90_000).reshape(300, 300)).all()
        z = (x.rechunk((50, 60)).rechunk((70, 40)) + 1).sum()
        assert z.compute() == np.arange(90_000).sum() + 90_000


@pytest.fixture
def frame():
    rng = np.random.default_rng(1)
    n = 20_000
    return pd.DataFrame(
        {
            "id": rng.integers(0, 500, n),
            "x": rng.normal(size=n),
            "name": rng.choice(["Alice", "Bob", "Carol"], n),
        },
        index=pd.date_range("2000", periods=n, freq="min"),
    )


def test_dataframe(client, frame):
    df = dd.from_pandas(frame, npartitions=8)
    assert len(df) == len(frame)
    result = df.groupby("name").x.agg(["mean", "count"]).compute().sort_index()
    expected = frame.groupby("name").x.agg(["mean", "count"])
    assert np.allclose(result.to_numpy(float), expected.to_numpy(float))
    assert np.allclose(df.x.rolling("1h").mean().compute(), frame.x.rolling("1h").mean())
    assert df["2000-01-02":"2000-01-03"].x.count().compute() == len(frame["2000-01-02":"2000-01-03"])
    assert df.describe().compute().loc["max", "x"] == frame.x.max()
    assert df.id.nunique().compute() == frame.id.nunique()
    assert df.head(3, npartitions=-1).equals(df.compute().head(3))
    assert df.map_partitions(len).compute().sum() == len(frame)


@pytest.mark.parametrize("method", ["tasks", "p2p"])
def test_dataframe_shuffle(client, frame, method):
    with dask.config.set({"dataframe.shuffle.method": method}):
        df = dd.from_pandas(frame, npartitions=6)
        shuffled = df.shuffle("id")
        parts = dask.compute(*shuffled.to_delayed())
        assert sum(map(len, parts)) == len(frame)
        homes = [set(p.id) for p in parts if len(p)]
        assert sum(map(len, homes)) == len(set().union(*homes))  # no id in two partitions
        assert shuffled.x.sum().compute() == pytest.approx(frame.x.sum())

        indexed = df.set_index("id")
        assert indexed.divisions[0] == frame.id.min()
        assert indexed.compute().index.is_monotonic_increasing


@pytest.mark.parametrize("method", ["tasks", "p2p"])
def test_dataframe_merge(client, frame, method):
    right = pd.DataFrame({"id": range(500), "weight": np.arange(500) / 10})
    with dask.config.set({"dataframe.shuffle.method": method}):
        left = dd.from_pandas(frame, npartitions=5)
        merged = left.merge(dd.from_pandas(right, npartitions=3), on="id", shuffle_method=method)
        expected = frame.merge(right, on="id")
        assert len(merged) == len(expected)
        assert merged.weight.sum().compute() == pytest.approx(expected.weight.sum())


def test_two_shuffles_at_once(client, frame):
    df = dd.from_pandas(frame, npartitions=6)
    a, b = client.compute([df.shuffle("id").x.sum(), df.shuffle("name").x.count()])
    assert a.result() == pytest.approx(frame.x.sum()) and b.result() == len(frame)


def test_a_shuffle_survives_the_death_of_a_worker(make_cluster, connect, frame):
    cluster = make_cluster("a", "b")
    client = connect(cluster)

    def slowly(part):
        time.sleep(0.1)
        return part

    df = dd.from_pandas(frame, npartitions=10).map_partitions(slowly, meta=frame)
    with dask.config.set({"dataframe.shuffle.method": "p2p"}):
        total = client.compute(df.shuffle("id").x.sum())
        while not any(str(k).startswith("('shuffle-transfer") for k in client.who_has()):
            time.sleep(0.01)
        cluster.kill_worker("a")
        assert total.result(timeout=60) == pytest.approx(frame.x.sum())


class Deaf(WorkerPlugin):
    """Hangs up on the first `times` messages that say that a shuffle's inputs are done"""

    def __init__(self, times):
        self.times = times

    def setup(self, worker):
        self.worker, self.usual, self.left = worker, worker.handlers["shuffle_inputs_done"], self.times
        worker.handlers["shuffle_inputs_done"] = self.inputs_done

    def teardown(self, worker):
        worker.handlers["shuffle_inputs_done"] = self.usual

    async def inputs_done(self, comm, **message):
        if self.left > 0:
            self.left -= 1
            comm.abort()
        else:
            await self.usual(**message)


@pytest.mark.parametrize("times", [1, 1000])
def test_a_barrier_is_told_again_to_those_it_did_not_reach(client, frame, times):
    """Workers that are too busy to answer; in the end it says so rather than wait for ever"""
    client.register_plugin(Deaf(times), name="deaf")
    try:
        df = dd.from_pandas(frame, npartitions=4)
        with dask.config.set({"dataframe.shuffle.method": "p2p"}):
            total = client.compute(df.shuffle("id").x.sum())
        if times == 1:
            assert total.result(timeout=60) == pytest.approx(frame.x.sum())
        else:
            with pytest.raises(RuntimeError) as error:
                total.result(timeout=60)
            assert "comm.timeouts.connect" in str(error.value.__cause__ or error.value)
    finally:
        client.unregister_worker_plugin("deaf")


def test_an_error_in_a_shuffle_is_told(client, frame):
    def fails(part):
        raise ValueError("in a partition")

    df = dd.from_pandas(frame, npartitions=4).map_partitions(fails, meta=frame)
    with dask.config.set({"dataframe.shuffle.method": "p2p"}):
        with pytest.raises(ValueError, match="in a partition"):
            df.shuffle("id").compute()


def test_bag(client):
    b = db.from_sequence(range(100), npartitions=5)
    assert b.map(inc).filter(lambda x: x % 2).sum().compute() == sum(range(1, 101, 2))
    assert dict(b.foldby(lambda x: x % 3, lambda t, x: t + x, 0).compute()) == {
        r: sum(range(r, 100, 3)) for r in range(3)
    }
    words = db.from_sequence(["b a", "a c", "a"]).map(str.split).flatten().frequencies(sort=True)
    assert words.compute() == [("a", 3), ("b", 1), ("c", 1)]
    groups = b.groupby(lambda x: x % 2).map(lambda group: (group[0], len(group[1])))
    assert sorted(groups.compute()) == [(0, 50), (1, 50)]


def test_delayed(client):
    @delayed(pure=True)
    def load(i):
        return {"i": i}

    @delayed(nout=2)
    def split(d):
        return d["i"], -d["i"]

    plus, minus = split(load(3))
    assert dask.compute(plus, minus, {"list": [plus, 1]}) == (3, -3, {"list": [3, 1]})
    assert delayed([load(1), {"x": load(2)}]).compute() == [{"i": 1}, {"x": {"i": 2}}]
    assert delayed("a-b").split("-")[1].upper().compute() == "B"
    total = sum(delayed(double)(i) for i in range(10))
    assert total.compute() == 90
    future = client.submit(inc, 10)
    assert delayed(inc)(future).compute() == 12


def test_persist_then_compute_then_mix(client):
    x = da.ones(1000, chunks=100).persist()
    y = delayed(inc)(x.sum())
    f = client.submit(np.add, client.compute(y), 5)
    assert f.result() == 1006
    b = db.from_delayed([delayed(list)(range(i)) for i in range(4)]).persist()
    wait(b)
    assert b.count().compute() == 6 and len(futures_of(b)) == 4
    assert dask.compute(x.sum(), b.count()) == (1000, 6)


def test_many_delayed_calls_into_one_sum(client):
    """2026.8.0's scheduler takes quadratic time for it (HighLevelGraph.cull); so fewer there.

    They are arguments here, not a list: for a list the client itself culls, quadratically,
    before anything is sent.
    """

    def total(*parts):
        return sum(parts)

    n = 20_000 if KIND == "cask" else 1000
    calls = delayed(total)(*[delayed(inc)(i) for i in range(n)])
    future = client.compute(calls)
    assert client.scheduler_info(n_workers=0)  # others are answered meanwhile
    assert not future.done()
    assert future.result(timeout=80) == n * (n + 1) // 2


def test_a_large_graph(client):
    n = 5000 if KIND == "cask" else 1000
    level = {("a", i): (inc, i) for i in range(n)}
    pairs = {("b", i): (sum, [("a", i), ("a", (i + 1) % n)]) for i in range(n)}
    graph = {**level, **pairs, "total": (sum, [("b", i) for i in range(n)])}
    assert client.get(graph, "total") == n * (n + 1)


def test_a_large_array_graph(client):
    x = da.ones((1000, 1000), chunks=(50, 50))  # 400 blocks
    assert float((x + 1)[:, ::-1].T.sum(axis=0).sum().compute()) == 2_000_000.0


def test_xarray(client):
    data = np.arange(24_000.0).reshape(40, 30, 20)
    ds = xr.Dataset({"t": (("time", "lat", "lon"), data)}, coords={"time": np.arange(40)})
    lazy = ds.chunk(time=10, lat=15)
    assert float(lazy.t.mean().compute()) == data.mean()
    anomaly = (lazy.t.groupby("time") - lazy.t.groupby("time").mean()).std()
    assert float(anomaly) == pytest.approx(float((ds.t.groupby("time") - ds.t.groupby("time").mean()).std()))
    rolled = lazy.t.rolling(time=3).mean().isel(time=slice(2, None)).compute()
    assert np.allclose(rolled, ds.t.rolling(time=3).mean().isel(time=slice(2, None)))
    kept = lazy.persist()
    wait(kept)
    assert float(kept.t.max()) == 23_999
    applied = xr.apply_ufunc(np.sqrt, lazy.t, dask="parallelized", output_dtypes=[float])
    assert np.allclose(applied.compute(), np.sqrt(data))


@pytest.mark.parametrize("method", ["tasks", "p2p"])
def test_xarray_rechunk(client, method):
    data = xr.DataArray(np.arange(40_000.0).reshape(200, 200), dims=("x", "y"))
    with dask.config.set({"array.rechunk.method": method}):
        moved = data.chunk(x=20).chunk(x=-1, y=20).sum("x").compute()
    assert np.allclose(moved, data.sum("x"))


def test_annotations_of_collections(client, a):
    with dask.annotate(workers="alice", allow_other_workers=False):
        x = da.ones(100, chunks=10)
    with dask.config.set({"optimization.fuse.active": False}):
        kept = client.persist(x, optimize_graph=False)
    wait(kept)
    assert {w for holders in client.who_has(kept).values() for w in holders} == {a}


def test_a_collection_that_fails_to_unpickle_is_told(client):
    class Here:
        def __reduce__(self):
            return missing, ()

    x = da.ones(4, chunks=2).map_blocks(lambda block, extra: block, extra=Here(), dtype=float)
    with pytest.raises(Exception) as caught:
        x.compute()
    assert "only here" in repr(caught.value) + repr(caught.value.__cause__)
    assert client.submit(inc, 1).result() == 2


def missing():
    raise RuntimeError("can be loaded only here")
