"""Whole Dask programs under the stock scheduler and under cask, alternately.

    programs.py [--quick] [--repeat N] [--mixes] [NAME ...]

Both schedulers with stock workers; with `--mixes` each scheduler with each kind of workers.

All clusters are up all the time and only one works. Each program runs once on each to warm up, then in
pairs whose order changes; the ratio is the median of the pairs'. One JSON object a program is printed.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import operator
import shutil
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import dask
from cluster import KINDS, Cluster
from distributed import Client, as_completed

Program = Callable[[Client, bool], object]
PROGRAMS: dict[str, Program] = {}


def program(function: Program) -> Program:
    PROGRAMS[function.__name__] = function
    return function


@program
def array_sum(client: Client, quick: bool) -> object:
    import dask.array as da

    side = 2000 if quick else 4000
    return float(da.ones((side, side), chunks=(100, 100)).sum().compute())


@program
def array_transposed_add(client: Client, quick: bool) -> object:
    import dask.array as da

    side = 1500 if quick else 3000
    x = da.ones((side, side), chunks=(100, 100))
    return float((x + x.T)[::2, 1::2].mean().compute())


@program
def array_rechunk(client: Client, quick: bool) -> object:
    import dask.array as da

    side = 1000 if quick else 2000
    x = da.ones((side, side), chunks=(50, side))
    with dask.config.set({"array.rechunk.method": "tasks"}):
        return float(x.rechunk((side, 50)).sum().compute())


def frame(quick: bool):
    return dask.datasets.timeseries(
        end="2000-01-08" if quick else "2000-01-21", freq="60s", partition_freq="12h", seed=1
    )


@program
def dataframe_groupby(client: Client, quick: bool) -> object:
    return len(frame(quick).groupby("name").x.mean().compute())


@program
def dataframe_merge(client: Client, quick: bool) -> object:
    left = frame(quick).reset_index()
    right = left[["id", "y"]].groupby("id").y.max().reset_index()
    return len(left.merge(right, on="id").compute())


@program
def csv_to_parquet(client: Client, quick: bool) -> object:
    import dask.dataframe as dd
    import pandas as pd

    folder = Path(tempfile.mkdtemp(prefix="cask-bench-"))
    try:
        for i in range(10 if quick else 40):
            pd.DataFrame({"a": range(500), "b": [i] * 500}).to_csv(folder / f"{i:03}.csv", index=False)
        dd.read_csv(str(folder / "*.csv")).to_parquet(folder / "out")
        return len(dd.read_parquet(folder / "out"))
    finally:
        shutil.rmtree(folder)


@program
def bag_wordcount(client: Client, quick: bool) -> object:
    import dask.bag as db

    lines = ["the quick brown fox jumps over the lazy dog"] * (2000 if quick else 10000)
    words = db.from_sequence(lines, npartitions=40 if quick else 100).map(str.split).flatten()
    return dict(words.frequencies(split_every=8).compute())["the"]


@program
def delayed_tree(client: Client, quick: bool) -> object:
    add = dask.delayed(operator.add)
    level = [dask.delayed(operator.neg)(i) for i in range(128 if quick else 512)]
    while len(level) > 1:
        level = [add(a, b) for a, b in zip(level[::2], level[1::2], strict=True)]
    return level[0].compute()


@program
def delayed_independent(client: Client, quick: bool) -> object:
    call = dask.delayed(operator.neg, pure=True)
    return sum(dask.compute(*[call(i) for i in range(500 if quick else 2000)]))


@program
def futures_map(client: Client, quick: bool) -> object:
    return sum(client.gather(client.map(operator.neg, range(1000 if quick else 5000), pure=False)))


@program
def as_completed_dynamic(client: Client, quick: bool) -> object:
    """Each result asks for the next call, 20 at a time."""
    left = 200 if quick else 1000
    going = as_completed([client.submit(operator.neg, i, pure=False) for i in range(20)])
    total = 0
    for future in going:
        total += future.result()
        if left > 0:
            left -= 1
            going.add(client.submit(operator.neg, left, pure=False))
    return total


@program
def futures_chain(client: Client, quick: bool) -> object:
    future = client.submit(operator.neg, 1, pure=False)
    for _ in range(100 if quick else 500):
        future = client.submit(operator.neg, future, pure=False)
    return future.result()


@program
def xarray_groupby(client: Client, quick: bool) -> object:
    import dask.array as da
    import pandas as pd
    import xarray as xr

    days = 120 if quick else 365
    data = xr.DataArray(
        da.ones((days, 40, 40), chunks=(5, 20, 20)),
        dims=("time", "y", "x"),
        coords={"time": pd.date_range("2001-01-01", periods=days)},
    )
    return float(data.groupby("time.month").mean().sum().compute())


@program
def sklearn_grid_search(client: Client, quick: bool) -> object:
    import joblib
    from sklearn.datasets import make_classification
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV

    x, y = make_classification(200, 8, random_state=1)
    grid = {"C": [0.01 * 2**i for i in range(5 if quick else 20)]}
    with joblib.parallel_backend("dask", client=client):
        return GridSearchCV(LogisticRegression(), grid, cv=3).fit(x, y).best_params_["C"]


class Run(NamedTuple):
    """One run of a program: what it took, and what it found."""

    seconds: float
    scheduler: float  # CPU seconds of the scheduler's processes …
    others: float  # … and of the workers and this process, the client
    result: str


def run_once(cluster: Cluster, function: Program, quick: bool) -> Run:
    scheduler, workers = cluster.scheduler.cpu_seconds(), cluster.workers_cpu_seconds()
    client, start = time.process_time(), time.perf_counter()
    with cluster.client.as_current():
        result = function(cluster.client, quick)
    seconds, client = time.perf_counter() - start, time.process_time() - client
    workers = cluster.workers_cpu_seconds() - workers
    return Run(seconds, cluster.scheduler.cpu_seconds() - scheduler, workers + client, repr(result))


def compare(clusters: dict[str, Cluster], name: str, quick: bool, repeat: int) -> dict:
    function = PROGRAMS[name]
    results = {run_once(clusters[kind], function, quick).result for kind in KINDS}
    runs: dict[str, list[Run]] = {kind: [] for kind in KINDS}
    for i in range(repeat):
        for kind in KINDS if i % 2 == 0 else KINDS[::-1]:
            runs[kind].append(run_once(clusters[kind], function, quick))
            results.add(runs[kind][-1].result)
    if len(results) != 1:
        raise AssertionError(f"{name}: the schedulers disagree: {results}")
    row: dict = {"program": name}
    for kind in KINDS:
        scheduler, others = (sum(getattr(run, of) for run in runs[kind]) for of in ("scheduler", "others"))
        row[f"{kind}_seconds"] = statistics.median(run.seconds for run in runs[kind])
        row[f"{kind}_cpu"] = scheduler / repeat
        row[f"{kind}_others_cpu"] = others / repeat
        row[f"{kind}_share"] = scheduler / (scheduler + others)
    pairs = zip(runs["stock"], runs["cask"], strict=True)
    row["ratio"] = statistics.median(stock.seconds / cask.seconds for stock, cask in pairs)
    stock, cask = (row[f"{kind}_cpu"] + row[f"{kind}_others_cpu"] for kind in KINDS)
    row["cpu_ratio"] = stock / cask
    return row


def compare_all(names: list[str], quick: bool, repeat: int) -> list[dict]:
    rows = []
    with Cluster("stock") as stock, Cluster("cask") as cask:
        for name in names:
            try:
                row = compare({"stock": stock, "cask": cask}, name, quick, repeat)
            except ImportError as error:
                row = {"program": name, "skipped": str(error)}
            print(json.dumps(row), flush=True)
            rows.append(row)
    return rows


MIXES = [(scheduler, workers) for scheduler in KINDS for workers in KINDS]


def compare_mixes(names: list[str], quick: bool, repeat: int) -> list[dict]:
    """One row a program: {mix: {"seconds", "cpu", "ratio"}}, the ratio that of the first mix, all stock, to it."""
    rows = []
    with contextlib.ExitStack() as stack:
        clusters = {mix: stack.enter_context(Cluster(mix[0], workers=mix[1])) for mix in MIXES}
        for name in names:
            try:
                row = compare_mix(clusters, name, quick, repeat)
            except ImportError as error:
                row = {"program": name, "skipped": str(error)}
            print(row, flush=True)
            rows.append(row)
    return rows


def compare_mix(clusters: dict[tuple[str, str], Cluster], name: str, quick: bool, repeat: int) -> dict:
    function = PROGRAMS[name]
    results = {run_once(cluster, function, quick).result for cluster in clusters.values()}
    runs: dict[tuple[str, str], list[Run]] = {mix: [] for mix in MIXES}
    for i in range(repeat):
        first = i % len(MIXES)
        for mix in MIXES[first:] + MIXES[:first]:
            runs[mix].append(run_once(clusters[mix], function, quick))
            results.add(runs[mix][-1].result)
    if len(results) != 1:
        raise AssertionError(f"{name}: the clusters disagree: {results}")
    row: dict = {"program": name}
    for mix in MIXES:
        pairs = zip(runs[MIXES[0]], runs[mix], strict=True)
        row[mix] = {
            "seconds": statistics.median(run.seconds for run in runs[mix]),
            "cpu": statistics.median(run.scheduler + run.others for run in runs[mix]),
            "ratio": statistics.median(stock.seconds / run.seconds for stock, run in pairs),
        }
    return row


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--mixes", action="store_true")
    parser.add_argument("names", nargs="*", metavar="NAME")
    arguments = parser.parse_args()
    unknown = set(arguments.names) - set(PROGRAMS)
    if unknown:
        sys.exit(f"no such program: {', '.join(sorted(unknown))}; there are {', '.join(PROGRAMS)}")
    compare_them = compare_mixes if arguments.mixes else compare_all
    compare_them(arguments.names or list(PROGRAMS), arguments.quick, arguments.repeat)


if __name__ == "__main__":
    main()
