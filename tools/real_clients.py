#!/usr/bin/env python3
"""Programs of other people that use Dask, against a scheduler and workers: a check to be run by hand.

    tools/real_clients.py [--scheduler-cmd "dask scheduler"] [--worker-cmd "dask worker"] [NAME …]

Starts the scheduler and two workers (default: build/cask's, with this Python), then lets each library below do what its own documentation shows, and compares the result with
what the same library computes without Dask.  A library that is not installed is named and
passed over.  Install them with

    pip install scikit-learn joblib xgboost lightgbm xarray dask-ml bokeh h5py
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import os
import pathlib
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import time
import warnings

import dask.array as da
import dask.dataframe as dd
import numpy as np
import pandas as pd
from dask.distributed import Client

ROOT = pathlib.Path(__file__).resolve().parent.parent


# ---------------------------------------------------------------------------
# The programs: each returns a line that says what was compared
# ---------------------------------------------------------------------------


def joblib_scikit_learn(client):
    """https://docs.dask.org/en/stable/ml.html: scikit-learn through joblib's dask backend"""
    import joblib
    from sklearn.datasets import load_digits
    from sklearn.ensemble import RandomForestClassifier
    from sklearn.model_selection import GridSearchCV
    from sklearn.svm import SVC

    X, y = load_digits(return_X_y=True)
    X, y = X[:600], y[:600]
    grid = {"C": [0.1, 1.0, 10.0], "gamma": [0.001, 0.01]}
    search = GridSearchCV(SVC(), grid, cv=3, n_jobs=-1)
    with joblib.parallel_backend("dask", scatter=[X, y]):
        search.fit(X, y)
        forest = RandomForestClassifier(100, random_state=1, n_jobs=-1).fit(X, y)
    alone = GridSearchCV(SVC(), grid, cv=3).fit(X, y)
    assert search.best_params_ == alone.best_params_
    assert np.allclose(search.cv_results_["mean_test_score"], alone.cv_results_["mean_test_score"])
    expected = RandomForestClassifier(100, random_state=1).fit(X, y).predict(X)
    assert (forest.predict(X) == expected).all()
    return f"18 fits, best {search.best_params_}, score {search.best_score_:.3f}; 100 trees"


def joblib_parallel(client):
    """Many small calls: joblib batches them itself"""
    import joblib

    with joblib.parallel_config(backend="dask"):
        results = joblib.Parallel()(joblib.delayed(pow)(i, 2) for i in range(2000))
    assert results == [i * i for i in range(2000)]
    return "2,000 calls"


def regression_data():
    rng = np.random.default_rng(1)
    X = rng.normal(size=(4000, 10))
    return X, X @ np.arange(10.0) + rng.normal(size=4000)


def xgboost_dask(client):
    """https://xgboost.readthedocs.io/en/stable/tutorials/dask.html"""
    import xgboost
    from xgboost import dask as dxgb

    X, y = regression_data()
    dX, dy = da.from_array(X, chunks=(1000, 10)), da.from_array(y, chunks=1000)
    parameters = {"max_depth": 4, "objective": "reg:squarederror", "tree_method": "hist"}
    output = dxgb.train(client, parameters, dxgb.DaskDMatrix(client, dX, dy), num_boost_round=20)
    predicted = dxgb.predict(client, output, dX).compute()
    alone = xgboost.train(parameters, xgboost.DMatrix(X, y), num_boost_round=20)
    error = np.sqrt(np.mean((predicted - y) ** 2))
    expected = np.sqrt(np.mean((alone.predict(xgboost.DMatrix(X)) - y) ** 2))
    assert error < 1.1 * expected
    return f"rmse {error:.3f}, without Dask {expected:.3f}"


def lightgbm_dask(client):
    """https://lightgbm.readthedocs.io/en/stable/Parallel-Learning-Guide.html#dask"""
    import lightgbm

    X, y = regression_data()
    dX, dy = da.from_array(X, chunks=(1000, 10)), da.from_array(y, chunks=1000)
    model = lightgbm.DaskLGBMRegressor(n_estimators=20, verbose=-1, client=client).fit(dX, dy)
    error = np.sqrt(np.mean((model.predict(dX).compute() - y) ** 2))
    alone = lightgbm.LGBMRegressor(n_estimators=20, verbose=-1).fit(X, y)
    expected = np.sqrt(np.mean((alone.predict(X) - y) ** 2))
    assert error < 1.1 * expected
    return f"rmse {error:.3f}, without Dask {expected:.3f}"


def xarray_climatology(client):
    """https://docs.xarray.dev/en/stable/user-guide/dask.html: anomalies of a made-up climate"""
    import xarray

    months = np.arange(240)
    seasons = np.sin(months * 2 * np.pi / 12)[:, None, None]
    data = seasons + np.random.default_rng(1).normal(size=(240, 20, 30))
    time_axis = pd.date_range("2000-01-01", periods=240, freq="MS")
    ds = xarray.Dataset({"t": (("time", "lat", "lon"), data)}, coords={"time": time_axis})
    lazy = ds.chunk(time=60, lat=10).persist()

    def steps(t):
        by_month = t.groupby("time.month")
        yield (by_month - by_month.mean()).std("time")
        yield t.rolling(time=3).mean().max("time")
        yield t.resample(time="YS").mean()
        yield t.chunk(time=-1, lat=5).quantile(0.9, "time") if t.chunks else t.quantile(0.9, "time")

    for found, expected in zip(steps(lazy.t), steps(ds.t), strict=True):
        assert np.allclose(found.compute(), expected)
    return f"monthly anomalies of {ds.t.size:,} values"


def dask_ml_models(client):
    """https://ml.dask.org: k-means, scaling, linear models, grid search, incremental learning"""
    from dask_ml.cluster import KMeans
    from dask_ml.linear_model import LinearRegression
    from dask_ml.model_selection import GridSearchCV
    from dask_ml.preprocessing import StandardScaler
    from dask_ml.wrappers import Incremental
    from sklearn.linear_model import SGDClassifier

    rng = np.random.default_rng(1)
    centres = np.array([[0, 0], [10, 10], [-10, 10]])
    points = (centres[rng.integers(0, 3, 3000)] + rng.normal(size=(3000, 2))).astype(float)
    X = da.from_array(points, chunks=(1000, 2))
    found = KMeans(n_clusters=3, random_state=0).fit(X).cluster_centers_
    assert np.allclose(np.sort(found, axis=0), np.sort(centres, axis=0), atol=0.3)

    scaled = StandardScaler().fit_transform(X).compute()
    assert np.allclose(scaled.std(axis=0), 1)

    A, b = regression_data()
    dA, db = da.from_array(A, chunks=(1000, 10)), da.from_array(b, chunks=1000)
    model = LinearRegression(solver="lbfgs").fit(dA, db)
    assert np.allclose(model.coef_, np.arange(10), atol=0.2)

    labels = (b > 0).astype(int)
    search = GridSearchCV(SGDClassifier(random_state=0), {"alpha": [1e-4, 1e-2]}, cv=3)
    search.fit(A, labels)
    assert search.best_score_ > 0.8

    positive = (db > 0).astype(int)
    incremental = Incremental(SGDClassifier(random_state=0)).fit(dA, positive, classes=[0, 1])
    assert incremental.score(dA, positive) > 0.8
    return f"clusters, scaling, regression, incremental learning, grid search {search.best_score_:.2f}"


def dataframe_join(client):
    """A join and a shuffle by the P2P extension, as a TPC-like query has them"""
    rng = np.random.default_rng(1)
    orders = pd.DataFrame({"customer": rng.integers(0, 2000, 40_000), "price": rng.random(40_000)})
    customers = pd.DataFrame({"customer": range(2000), "nation": rng.integers(0, 25, 2000)})
    joined = dd.from_pandas(orders, 8).merge(
        dd.from_pandas(customers, 4), on="customer", shuffle_method="p2p"
    )
    answer = joined.groupby("nation").price.sum().compute().sort_index()
    expected = orders.merge(customers, on="customer").groupby("nation").price.sum()
    assert np.allclose(answer, expected)
    return "40,000 orders joined with 2,000 customers"


PROGRAMS = {
    "joblib": ("joblib", joblib_parallel),
    "scikit-learn": ("sklearn", joblib_scikit_learn),
    "xgboost": ("xgboost", xgboost_dask),
    "lightgbm": ("lightgbm", lightgbm_dask),
    "xarray": ("xarray", xarray_climatology),
    "dask-ml": ("dask_ml", dask_ml_models),
    "dataframe": ("pyarrow", dataframe_join),
}


# ---------------------------------------------------------------------------
# Scheduler and workers
# ---------------------------------------------------------------------------


@contextlib.contextmanager
def process(command, log):
    with open(log, "wb") as output:
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
            env={**os.environ, "CASK_PYTHON": sys.executable},
        )
    try:
        yield child
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()


@contextlib.contextmanager
def cluster(scheduler_cmd, worker_cmd, directory):
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    address = f"tcp://127.0.0.1:{port}"
    command = [*shlex.split(scheduler_cmd), "--host", "127.0.0.1", "--port", str(port)]
    with contextlib.ExitStack() as stack:
        log = directory / "scheduler.log"
        stack.enter_context(process([*command, "--dashboard-address", "127.0.0.1:0"], log))
        for name in "ab":
            worker = [*shlex.split(worker_cmd), address, "--name", name]
            worker += ["--nthreads", "1", "--no-dashboard", "--local-directory", str(directory)]
            stack.enter_context(process(worker, directory / f"{name}.log"))
        yield address


def run(name, client):
    """True unless it failed"""
    module, program = PROGRAMS[name]
    try:
        version = getattr(importlib.import_module(module), "__version__", "")
    except ImportError as error:
        print(f"-  {name:13} not installed: {error}")
        return True
    begin = time.perf_counter()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            result = program(client)
    except Exception as error:
        print(f"✗  {name:13} {version}: {type(error).__name__}: {error}")
        return False
    print(f"✓  {name:13} {version}: {result} ({time.perf_counter() - begin:.1f} s)")
    return True


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(PROGRAMS))
    parser.add_argument("--scheduler-cmd", default=f"{ROOT}/build/cask scheduler")
    parser.add_argument("--worker-cmd", default=f"{ROOT}/build/cask worker")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    unknown = set(options.names) - set(PROGRAMS)
    if unknown:
        parser.error(f"unknown: {', '.join(sorted(unknown))}; there are {', '.join(PROGRAMS)}")
    with tempfile.TemporaryDirectory(prefix="cask-clients-") as name:
        directory = pathlib.Path(name)
        with cluster(options.scheduler_cmd, options.worker_cmd, directory) as address:
            with Client(address, timeout=30) as client:
                client.wait_for_workers(2, timeout=60)
                good = [run(name, client) for name in options.names or PROGRAMS]
        if not all(good):
            for path in sorted(directory.glob("*.log")):
                print(f"\n--- {path.name}\n{path.read_text(errors='replace')[-4000:]}")
            sys.exit(1)


if __name__ == "__main__":
    main()
