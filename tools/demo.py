#!/usr/bin/env python3
"""A tour of cask in a minute: a scheduler and workers in C, a Dask client, real work.

    tools/demo.py [--stock-workers | --stock]

Makes a cluster by `cask.LocalCluster`, works on it through a client, and checks every answer.
The exit status is 0 only if all of them were right.  Nothing is left behind: no process, no file.
"""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import pathlib
import random
import signal
import sys
import tempfile
import textwrap
import time
import traceback

import dask.dataframe as dd
import distributed
import pandas as pd
import psutil
from dask import delayed
from dask.distributed import as_completed, futures_of, wait
from distributed.deploy.spec import ProcessInterface

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "python"))
import cask  # noqa: E402

COLOURS = sys.stdout.isatty() and "NO_COLOR" not in os.environ


# ---------------------------------------------------------------------------
# Telling
# ---------------------------------------------------------------------------


def paint(code, text):
    return f"\033[{code}m{text}\033[0m" if COLOURS else text


def title(text):
    print("\n" + paint("1", text), flush=True)


def say(text):
    for line in textwrap.wrap(text, 92):
        print("  " + line, flush=True)


def code(text):
    """Show what a user would type"""
    for line in textwrap.dedent(text).strip().splitlines():
        print(paint("36", "    " + line), flush=True)


def show(text):
    for line in text.rstrip().splitlines():
        print(paint("2", "    " + line), flush=True)


class Wrong(Exception):
    """An answer was not what it must be"""


def check(ok, text):
    if not ok:
        raise Wrong(text)
    print(f"  {paint('32', '✓')} {text}", flush=True)


def eventually(condition, what, timeout=30):
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            raise Wrong(f"after {timeout} s still not: {what}")
        time.sleep(0.01)


# The cluster
# ---------------------------------------------------------------------------


def make_cluster(options, directory):
    """Two workers of two threads"""
    arguments = {"n_workers": 2, "threads_per_worker": 2, "local_directory": str(directory)}
    arguments["silence_logs"] = logging.CRITICAL  # errors are a part of the tour
    if options.stock:
        arguments["dashboard_address"] = None
    elif options.stock_workers:
        arguments["worker_class"] = distributed.Nanny
    kind = distributed.LocalCluster if options.stock else cask.LocalCluster
    code(f"""
        from {'dask.distributed' if options.stock else 'cask'} import Client, LocalCluster
        cluster = LocalCluster(n_workers=2, threads_per_worker=2)
        client = Client(cluster)
    """)
    begin = time.perf_counter()
    cluster = kind(**arguments)
    check(True, f"a scheduler and two workers run after {time.perf_counter() - begin:.1f} s")
    return cluster


def pid_of(worker):
    """Of the process that keeps a worker's data"""
    process = worker if isinstance(worker, ProcessInterface) else worker.process
    return process and process.pid


# ---------------------------------------------------------------------------
# 1. An error far away
# ---------------------------------------------------------------------------


def dec(x):
    return x - 1


def recip(x):
    return 1 / x


def errors(client, on_cask):
    title("1. An error far away")
    say("Seven numbers lose one each, their reciprocals are added up. One of them is 1.")
    code("""
        inputs = [9, 4, 2, 76, 2, 1, 5]
        out = delayed(sum)([delayed(recip)(delayed(dec)(x)) for x in inputs])
        out.compute()
    """)
    inputs = [9, 4, 2, 76, 2, 1, 5]
    good = delayed(sum)([delayed(recip)(delayed(dec)(x)) for x in inputs if x != 1])
    out = delayed(sum)([delayed(recip)(delayed(dec)(x)) for x in inputs])
    try:
        out.compute()
        raise Wrong("1 / 0 did not fail")
    except ZeroDivisionError as error:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        show("Traceback (most recent call last):")
        show("  … " + "".join(traceback.format_list([frame])).strip())
        show(f"{type(error).__name__}: {error}")
        check(
            (frame.name, frame.line) == ("recip", "return 1 / x"),
            "the worker's ZeroDivisionError, with the traceback of the line that raised it",
        )
    expected = sum(1 / (x - 1) for x in inputs if x != 1)
    check(abs(good.compute() - expected) < 1e-12, f"without the 1 the sum is right: {expected:.4f}")
    say("A remote traceback has no variables. So fetch the failed task and its input, run it here:")
    code("future = client.compute(out)\nclient.recreate_error_locally(future)")
    future = client.compute(out)
    wait(future)
    try:
        client.recreate_error_locally(future)
        raise Wrong("recreate_error_locally did not raise")
    except ZeroDivisionError as error:
        frame = list(traceback.walk_tb(error.__traceback__))[-1][0]
        check(
            frame.f_code.co_name == "recip" and frame.f_locals == {"x": 0},
            "ZeroDivisionError in this very process; a debugger would see x = 0",
        )
    except AttributeError as error:
        if on_cask:
            raise
        say(f"! stock Dask 2026.8.0 is known to fail here: {error}")


# ---------------------------------------------------------------------------
# 2. Futures
# ---------------------------------------------------------------------------


def rosenbrock(point):
    time.sleep(0.01)
    x, y = point
    return point, (1 - x) ** 2 + 2 * (y - x**2) ** 2


def search(client):
    title("2. Futures that make more futures")
    say(
        "A search for the minimum of Rosenbrock's function: each result, as it comes in, decides "
        "where the next point is tried, while others still run."
    )
    code("""
        iterator = as_completed(client.map(rosenbrock, points))
        for future in iterator:
            …
            iterator.add(client.submit(rosenbrock, near(best)))
    """)
    rng = random.Random(1)
    scale, best_score, best_point, seen = 5.0, float("inf"), (0.0, 0.0), 0
    points = [(rng.uniform(-scale, scale), rng.uniform(-scale, scale)) for _ in range(10)]
    iterator = as_completed(client.map(rosenbrock, points))
    for future in iterator:
        seen += 1
        point, score = future.result()
        if score < best_score:
            best_score, best_point = score, point
        if seen <= 200:
            near = tuple(v + rng.uniform(-scale, scale) for v in best_point)
            iterator.add(client.submit(rosenbrock, near))
        scale *= 0.98
    x, y = best_point
    check(seen == 210, f"{seen} points came back, 200 of them added while the search ran")
    check(best_score < 0.5, f"minimum near ({x:.2f}, {y:.2f}), score {best_score:.4f} (truth: 1, 1)")


# ---------------------------------------------------------------------------
# 3. A dataframe
# ---------------------------------------------------------------------------


def dataframe(directory):
    title("3. A dataframe from CSV files")
    rng = random.Random(2)
    towns = ["Aarhus", "Bergen", "Cork", "Dijon"]
    for number in range(4):
        rows = [(rng.choice(towns), rng.randrange(1, 100)) for _ in range(10_000)]
        pd.DataFrame(rows, columns=["town", "fare"]).to_csv(directory / f"{number}.csv", index=False)
    say("Four files of 10,000 taxi rides; read by the workers, kept in their memory, grouped.")
    code("""
        df = dd.read_csv("*.csv").persist()
        df.groupby("town").fare.mean().compute()
    """)
    df = dd.read_csv(directory / "*.csv").persist()
    wait(df)
    check(len(futures_of(df)) == 4, "persisted: four partitions in the memory of the workers")
    mean = df.groupby("town").fare.mean().compute().sort_index()
    show(mean.round(3).to_string())
    local = pd.concat(map(pd.read_csv, sorted(directory.glob("*.csv"))))
    expected = local.groupby("town").fare.mean().sort_index()
    check((mean - expected).abs().max() < 1e-9, "the same as pandas says")
    code('df[df.fare > 50].to_parquet("rides")')
    df[df.fare > 50].to_parquet(directory / "rides")
    files = sorted((directory / "rides").glob("*.parquet"))
    back = pd.read_parquet(directory / "rides")
    check(len(files) == 4, f"written in parallel: {', '.join(f.name for f in files)}")
    check(
        back.fare.sum() == local[local.fare > 50].fare.sum(),
        f"and read back: {len(back):,} rides over 50",
    )


# ---------------------------------------------------------------------------
# 4. A worker dies
# ---------------------------------------------------------------------------


def slow_square(x):
    time.sleep(0.05)
    return x * x


def death(client, cluster):
    title("4. A worker is killed in the middle")
    code("""
        squares = client.map(slow_square, range(100))
        total = client.submit(sum, squares)
    """)
    squares = client.map(slow_square, range(100), pure=False)
    total = client.submit(sum, squares)

    def done():
        return sum(f.status == "finished" for f in squares)

    eventually(lambda: done() >= 30, "30 squares are there")
    held = {w.worker_address: len(client.has_what()[w.worker_address]) for w in cluster.workers.values()}
    victim = max(cluster.workers.values(), key=lambda w: held[w.worker_address])
    pid, lost = pid_of(victim), held[victim.worker_address]
    code(f"$ kill -9 {pid}")
    os.kill(pid, signal.SIGKILL)
    say(f"gone, with the {lost} results that it held, after {done()} squares")
    answer = total.result(timeout=60)
    check(lost > 0, "results were lost")
    check(answer == sum(x * x for x in range(100)), f"and the answer is right all the same: {answer}")

    def replaced():
        return pid_of(victim) not in (None, pid) and len(client.nthreads()) == 2

    eventually(replaced, "another process has its place", timeout=60)
    check(True, "another has been started in its place: two workers again")


# ---------------------------------------------------------------------------


def resources(process):
    used = process.cpu_times()
    mib = process.memory_info().rss / 2**20
    return f"{used.user + used.system:.2f} s of CPU and {mib:.0f} MiB of memory"


def tour(options):
    title("The demo, on Dask's own" if options.stock else "Dask's distributed system, in C")
    with tempfile.TemporaryDirectory(prefix="cask-demo-") as name, contextlib.ExitStack() as stack:
        directory = pathlib.Path(name)
        cluster = stack.enter_context(make_cluster(options, directory))
        client = stack.enter_context(distributed.Client(cluster))
        errors(client, on_cask=not options.stock)
        search(client)
        dataframe(directory)
        death(client, cluster)
        title("All of it was right")
        if not options.stock:
            scheduler = psutil.Process(cluster.scheduler.pid)
            say(f"The scheduler used {resources(scheduler)}.")
            for child in scheduler.children():
                does = "shows the dashboard" if "observer" in child.cmdline() else "reads the graphs of collections"
                say(f"Its {child.name()} child, which {does}, used {resources(child)}.")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--stock-workers", action="store_true", help="Dask's workers under cask's scheduler")
    parser.add_argument("--stock", action="store_true", help="all of it Dask's, to compare")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        tour(options)
    except Wrong as wrong:
        sys.exit(f"\n{paint('31', '✗')} {wrong}")


if __name__ == "__main__":
    main()
