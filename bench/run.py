"""All benchmarks, stock and cask alternately; the results go to bench/RESULTS.md.

    run.py [--quick] [--only NAME ...] [--output FILE]

BUILD names the build folder (build/). Full: about an hour, most of it stock's; --quick: ten minutes.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import json
import math
import operator
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import dashboard as dashboards
import programs
import transfer
import worker_cases
from cluster import BUILD, ENVIRONMENT, KINDS, ROOT, Cluster, Scheduler, machine
from tables import mebibytes, table, times

if TYPE_CHECKING:
    from distributed import Client

THREADS = 4
# Shape, tasks, workers, repetitions; the first three are the quick ones.
CPU_CASES = [
    ("merge", 10_000, 64, 3),
    ("tree", 10_000, 64, 3),
    ("random", 10_000, 64, 3),
    ("merge", 10_000, 1, 3),
    ("merge", 10_000, 1000, 3),
    ("merge", 100_000, 64, 1),
    ("tree", 100_000, 64, 1),
    ("random", 100_000, 64, 1),
]
GRAPHS = Path(os.environ.get("CASK_BENCH_GRAPHS", BUILD / "bench" / "graphs"))

Section = Callable[[bool], str]
SECTIONS: dict[str, Section] = {}


def section(function: Section) -> Section:
    SECTIONS[function.__name__] = function
    return function


# ---- the load generator ----


def graph(shape: str, tasks: int) -> Path:
    """The graph's file; made when it is not there yet."""
    path = GRAPHS / f"{shape}-{tasks}.graph"
    if not path.exists():
        GRAPHS.mkdir(parents=True, exist_ok=True)
        subprocess.run([sys.executable, ROOT / "bench/graphs.py", shape, str(tasks), path], check=True)
    return path


@contextlib.contextmanager
def one_core() -> Iterator[None]:
    """What starts meanwhile stays on one core.

    One worker and the scheduler take turns. On two cores of an idle virtual machine each message then wakes
    a core that sleeps, which costs more CPU than the message itself, and is the machine's, not ours.
    """
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(cores)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)


def load(kind: str, shape: str, tasks: int, workers: int, *, dashboard: bool = False) -> dict:
    path = graph(shape, tasks)
    sharing = one_core() if workers == 1 else contextlib.nullcontext()
    with sharing, Scheduler(kind, dashboard=dashboard, prewarm=False) as scheduler:
        command = [BUILD / "bench/loadgen", scheduler.port, scheduler.pid, path, workers, THREADS]
        result = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False)
        if result.returncode != 0:
            raise RuntimeError(f"{kind}, {path.name}: {result.stderr}{scheduler.log()[-2000:]}")
    print(kind, shape, result.stdout, end="", flush=True)
    return json.loads(result.stdout)


def median(results: list[dict]) -> dict:
    return {field: statistics.median(r[field] for r in results) for field in results[0]}


def load_pairs(shape: str, tasks: int, workers: int, repeat: int, **options: bool) -> dict[str, dict]:
    results: dict[str, list[dict]] = {kind: [] for kind in KINDS}
    for i in range(repeat):
        for kind in KINDS if i % 2 == 0 else KINDS[::-1]:
            results[kind].append(load(kind, shape, tasks, workers, **options))
    return {kind: median(results[kind]) for kind in KINDS}


@section
def scheduler_cpu(quick: bool) -> str:
    """CPU of the scheduler a task, against stock."""
    rows = []
    for shape, tasks, workers, repeat in CPU_CASES[:3] if quick else CPU_CASES:
        stock, cask = load_pairs(shape, tasks, workers, repeat).values()
        row: list[object] = [shape, f"{tasks:,}", f"{workers:,}"]
        for phase in ("intake_us", "run_us", "release_us"):
            ratio = times(stock[phase] / cask[phase])
            row.append(f"{stock[phase]:.0f} / {cask[phase]:.2f} = **{ratio}**")
        row.append(f"{stock['tasks_per_second']:,.0f} / {cask['tasks_per_second']:,.0f}")
        row.append(f"{mebibytes(stock['peak_bytes'])} / {mebibytes(cask['peak_bytes'])}")
        rows.append(row)
    head = ["graph", "tasks", "workers", "intake, µs a task", "running, µs a task", "release, µs a task"]
    return (
        "User and system time of the scheduler's processes, stock / cask. Simulated workers "
        f"(`bench/loadgen.c`, {THREADS} threads each) finish every task at once. Neither has a dashboard.\n\n"
        + table([*head, "tasks a second", "peak memory"], rows)
    )


@section
def scheduler_cpu_dashboard(quick: bool) -> str:
    """The same with the dashboard on, as both are by default."""
    stock, cask = load_pairs("merge", 10_000, 64, 1 if quick else 3, dashboard=True).values()
    rows = [
        [name, f"{stock[field]:.0f}", f"{cask[field]:.2f}", times(stock[field] / cask[field])]
        for name, field in (("intake", "intake_us"), ("running", "run_us"), ("release", "release_us"))
    ]
    return table(["merge, 10,000 tasks, 64 workers", "stock, µs a task", "cask, µs a task", "ratio"], rows)


@section
def flatness(quick: bool) -> str:
    """Cask alone, from 10,000 tasks to a million and from one worker to a thousand."""
    rows = []
    for tasks in (10_000, 100_000) if quick else (10_000, 100_000, 1_000_000):
        for workers in (1, 64, 1000):
            if quick and workers == 1000:
                continue
            result = median([load("cask", "merge", tasks, workers) for _ in range(3)])
            rows.append(
                [f"{tasks:,}", f"{workers:,}"]
                + [f"{result[phase]:.2f}" for phase in ("intake_us", "run_us", "release_us")]
                + [f"{result['tasks_per_second']:,.0f}", mebibytes(result["peak_bytes"])]
                + [f"{result['bytes_a_task']:.0f}"]
            )
    head = ["tasks", "workers", "intake, µs", "running, µs", "release, µs", "tasks a second", "peak memory"]
    return (
        "CPU a task of the merge graph. Memory a task is resident: pickled tasks, keys, and the message. About half of "
        "running is the kernel's: short tasks go to a worker ahead of its slots, so a message carries several; with 1,000 "
        "workers and few tasks for each there is less to send ahead. One worker "
        "shares the scheduler's core (why: `one_core` in `bench/run.py`).\n\n"
        + table([*head, "bytes a task"], rows)
    )


@section
def intake(quick: bool) -> str:
    """Reading 10,000 tasks: a low-level graph, and `delayed` calls."""
    rows = []
    for shape, name in (("merge", "low-level graph"), ("delayed", "independent `delayed` calls")):
        stock, cask = load_pairs(shape, 10_000, 1, 1 if quick else 3).values()
        ratio = times(stock["intake_us"] / cask["intake_us"])
        rows.append([name, f"{stock['intake_us']:.0f}", f"{cask['intake_us']:.2f}", ratio])
    return (
        "CPU from the message's arrival until the first tasks were sent. Neither needs a Python process on cask's "
        "side, and none was there.\n\n"
        + table(["10,000 tasks", "stock, µs a task", "cask, µs a task", "ratio"], rows)
    )


def planned(shape: str, tasks: int, repeat: int, kinds: tuple[str, ...] = KINDS) -> dict[str, dict]:
    """Of a graph that only Python can open: what either scheduler spends on it, first and again."""
    path = graph(shape, tasks)
    results = {}
    for kind in kinds:
        command = [sys.executable, ROOT / "bench/intake.py", kind, path, str(repeat)]
        output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        print(output, end="", flush=True)
        results[kind] = json.loads(output)
    return results


def spent_on(results: dict[str, dict], *fields: str) -> list[str]:
    stock, cask = results.get("stock"), results["cask"]
    row = [f"{cask['tasks']:,}"]
    for field in fields:
        if stock is None:
            row.append(f"— / {cask[field]:.1f}")
        else:
            row.append(f"{stock[field]:.0f} / {cask[field]:.1f} = **{times(stock[field] / cask[field])}**")
    return row


@section
def delayed_sum(quick: bool) -> str:
    """`delayed` calls into one `delayed(sum)`: the scheduler's part, and the client's."""
    rows = []
    for tasks in (5_000, 10_000) if quick else (5_000, 10_000, 20_000, 40_000):
        kinds = KINDS if tasks <= 20_000 else ("cask",)
        results = planned("delayed", tasks, 3 if tasks < 20_000 else 1, kinds)
        count, *spent = spent_on(results, "first_us", "again_us")
        client = json.loads(graph("delayed", tasks).with_suffix(".json").read_text())
        build, pickle = (client[f] / tasks * 1e6 for f in ("build_seconds", "pickle_seconds"))
        rows.append([count, *spent, f"{build:.0f} + {pickle:.0f}"])
    return (
        "CPU of the scheduler's processes, µs a task, stock / cask, from the message's arrival until the tasks are "
        "known (`bench/intake.py`; no workers). Cask reads such graphs without Python. Last column: what the stock "
        "client spends before, on building the graph and on pickling it: the same for both schedulers, and quadratic, "
        "too. Stock's scheduler is not asked for 40,000: it had not done after 300 s of CPU.\n\n"
        + table(["tasks", "first", "again", "client, µs a task"], rows)
    )


@section
def collections(quick: bool) -> str:
    """Reading the graphs of collections."""
    rows = []
    for shape in ("array", "dataframe", "bag"):
        results = planned(shape, 10_000, 2 if quick else 5)
        cask = results["cask"]
        rows.append(
            [shape, *spent_on(results, "first_us", "at_once_us", "again_us")]
            + [f"{cask['ahead_seconds']:.2f} s", mebibytes(cask["resident_bytes"])]
        )
    head = ["graph", "tasks", "first", "first, at once", "again", "ahead of it, CPU", "resident then"]
    return (
        "As above: CPU of the scheduler's processes from the message's arrival on, µs a task, stock / cask. First: some "
        "seconds after the client came, in which cask's planner, a Python process, starts and imports what "
        "collections name (last columns: what that takes, of both processes together); stock's scheduler imports a part of it at its own "
        "start, the rest now. At once: in the moment in which the client came, so that all of the planner's start is "
        "in it.\n\n" + table(head, rows)
    )


# ---- the core, and standing still ----


@section
def core(quick: bool) -> str:
    """The core alone, without messages: `bench/core_step.c`."""
    output = ""
    for shape in ("merge", "tree", "random"):
        for tasks in (100_000,) if quick else (10_000, 100_000, 1_000_000):
            command = [BUILD / "bench/core_step", shape, str(tasks), "64"]
            output += subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return f"```\n{output}```\n"


@section
def standing_still(quick: bool) -> str:
    """Start until connections are taken; memory and CPU without work."""
    seconds = 5 if quick else 30
    rows = []
    started: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for _ in range(3 if quick else 9):
        for kind in KINDS:
            with Scheduler(kind) as scheduler:
                started[kind].append(scheduler.startup_seconds)
    for kind in KINDS:
        with Scheduler(kind) as scheduler:
            time.sleep(2)
            cpu = scheduler.cpu_seconds()
            time.sleep(seconds)
            share = (scheduler.cpu_seconds() - cpu) / seconds
            resident = mebibytes(scheduler.resident_bytes())
        fastest, middle = min(started[kind]), statistics.median(started[kind])
        rows.append([kind, f"{fastest * 1e3:.0f} ms", f"{middle * 1e3:.0f} ms", resident, f"{share:.2%}"])
    return table(["", "start, fastest", "start, median", "resident", "CPU"], rows)


def asked_meanwhile(scheduler: Scheduler, client: Client, name: str, work: Callable[[], object]) -> list[object]:
    """A row: the loop's turns, and another client's round trips, while the scheduler does the work."""
    command = [sys.executable, ROOT / "bench/ask.py", scheduler.address]
    prober = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    row: list[object] = [scheduler.kind, name, "—", "—"]
    time.sleep(1.5)  # it has started
    if scheduler.kind == "cask":
        client.sync(client.scheduler.loop_turns, reset=True)
    work()
    if scheduler.kind == "cask":
        turns = client.sync(client.scheduler.loop_turns, reset=True)
        row[2:] = [f"{turns['longest_cpu'] * 1e3:.1f} ms", turns["over_5_ms"]]
    output, _ = prober.communicate("")
    print(scheduler.kind, name, output, end="", flush=True)
    return row + [f"{json.loads(output)[rank]:.1f} ms" for rank in ("p50", "p99", "max")]


def wait_for_keys(client: Client, keys: list[object], there: bool) -> None:
    while any((s is not None) != there for s in client.sync(client.scheduler.get_task_status, keys=keys).values()):
        time.sleep(0.1)


def answers_rows(kind: str, calls: int, delayed_calls: int) -> list[list[object]]:
    import dask
    from distributed import Client

    rows = []
    graphs: dict[str, Callable[[Client], list]] = {
        f"map, {calls:,}": lambda client: client.map(abs, range(calls), pure=False),
        f"delayed, {delayed_calls:,}": lambda client: client.compute(
            [dask.delayed(abs, pure=False)(i) for i in range(delayed_calls)], optimize_graph=False
        ),
    }
    for name, submit in graphs.items():
        futures: list = []
        with Scheduler(kind) as scheduler, Client(scheduler.address, set_as_default=False, timeout=60) as client:

            def take() -> None:
                futures.extend(submit(client))
                wait_for_keys(client, [futures[0].key, futures[-1].key], True)

            def release() -> None:
                keys = [futures[0].key, futures[-1].key]
                futures.clear()
                wait_for_keys(client, keys, False)

            rows.append(asked_meanwhile(scheduler, client, name, take))
            rows.append(asked_meanwhile(scheduler, client, f"{name}: release", release))
    return rows


@section
def answers(quick: bool) -> str:
    """Answers while a large graph streams in, and while it goes."""
    rows = answers_rows("stock", 20_000 if quick else 100_000, 2_000 if quick else 10_000)
    rows += answers_rows("cask", 100_000 if quick else 1_000_000, 10_000 if quick else 200_000)
    head = ["", "graph", "longest turn, CPU", "turns over 5 ms", "round trip, p50", "p99", "max"]
    return (
        "Another client's small request (`ncores`), asked again and again by `bench/ask.py`; the time in which the client "
        "makes the graph is in it. No workers. Stock's graphs are smaller, as it takes minutes for a million.\n\n"
        + table(head, rows)
    )


@section
def latency(quick: bool) -> str:
    """`client.submit(f, x).result()` with two stock workers."""
    found: dict[str, list[float]] = {kind: [] for kind in KINDS}
    with Cluster("stock") as stock, Cluster("cask") as cask:
        for i in range(450 if quick else 2000):
            for cluster in (stock, cask) if i % 2 == 0 else (cask, stock):
                start = time.perf_counter()
                cluster.client.submit(operator.neg, i, pure=False).result()
                if i >= 50:
                    found[cluster.kind].append(time.perf_counter() - start)
    rows = []
    for name, rank in (("p50", 50), ("p90", 90), ("p99", 99)):
        stock_time, cask_time = (statistics.quantiles(found[kind], n=100)[rank - 1] * 1e3 for kind in KINDS)
        rows.append([name, f"{stock_time:.2f} ms", f"{cask_time:.2f} ms", times(stock_time / cask_time)])
    return "Most of it is the client's and the worker's.\n\n" + table(["", "stock", "cask", "ratio"], rows)


def geometric_mean(ratios: list[float]) -> str:
    return f"**{times(math.exp(statistics.fmean(map(math.log, ratios))))}**"


def programs_table(quick: bool) -> str:
    rows = programs.compare_all(list(programs.PROGRAMS), quick, 3 if quick else 5)
    lines: list[list[object]] = []
    for row in rows:
        if "skipped" in row:
            lines.append([row["program"], f"skipped: {row['skipped']}", *[""] * 5])
            continue
        lines.append(
            [row["program"], f"{row['stock_seconds']:.2f} s", f"{row['cask_seconds']:.2f} s", times(row["ratio"])]
            + [f"{row['stock_share']:.0%}", f"{row['cask_share']:.1%}", times(row["cpu_ratio"])]
        )
    ratios = [row["ratio"] for row in rows if "ratio" in row]
    lines.append(["**geometric mean**", "", "", geometric_mean(ratios), "", "", ""])
    head = ["program", "stock", "cask", "ratio", "stock's scheduler, share of all CPU", "cask's", "all CPU, ratio"]
    return table(head, lines)


@section
def whole_programs(quick: bool) -> str:
    """Dask programs on two stock workers: `bench/programs.py`."""
    return (
        "Wall time, paired and alternating; client and workers are stock and the same on both sides, so a "
        "ratio says how much of the program's time was the scheduler's. CPU is user and system time of client, "
        "workers and scheduler together: what the scheduler's share of it was under stock is all that another "
        "scheduler can save.\n\n" + programs_table(quick)
    )


@section
def whole_programs_cask(quick: bool) -> str:
    """The same programs on all four mixes of schedulers and workers, stock's and cask's."""
    mixes = programs.MIXES
    rows = programs.compare_mixes(list(programs.PROGRAMS), quick, 3 if quick else 5)
    lines: list[list[object]] = []
    for row in rows:
        if "skipped" in row:
            lines.append([row["program"], f"skipped: {row['skipped']}", *[""] * 5])
            continue
        stock, cask = row[mixes[0]], row[mixes[-1]]
        ratios = [times(row[mix]["ratio"]) for mix in mixes[1:]]
        lines.append(
            [row["program"], f"{stock['seconds']:.2f} s", *ratios, f"{cask['seconds']:.2f} s"]
            + [times(stock["cpu"] / cask["cpu"])]
        )
    means = [geometric_mean([row[mix]["ratio"] for row in rows if mix in row]) for mix in mixes[1:]]
    lines.append(["**geometric mean**", "", *means, "", ""])
    head = ["program", "all stock", *(f"{scheduler} scheduler, {workers} workers" for scheduler, workers in mixes[1:])]
    return (
        "As above, in turn on four clusters of two workers; ratios of wall times, all stock / the mix. A cask worker's CPU is that of its C "
        "process and of the executor that runs user code; stock workers run without their nanny. The last columns are "
        "of all cask: its time, and the ratio of the CPU of client, workers and scheduler.\n\n"
        + table([*head, "all cask", "all CPU, ratio"], lines)
    )


@section
def worker_tasks(quick: bool) -> str:
    """A worker's CPU for a trivial task, and the shortest tasks that two workers are half busy with."""
    return worker_cases.tasks_text(quick)


@section
def worker_transfer(quick: bool) -> str:
    """An array from one worker to another."""
    return transfer.text(quick)


@section
def worker_standing_still(quick: bool) -> str:
    """A worker's start until its first result; its memory and CPU without work."""
    return worker_cases.standing_still_text(quick)


# ---- the worker's store ----

# Bytes of a value, how many; the same divided by four with --quick.
SPILL_CASES = [("10 KiB", 10_240, 40_000), ("1 MiB", 1 << 20, 400), ("100 MB", 100_000_000, 4)]


def spill_once(command: list[object], directory: str, size: int, count: int) -> dict[str, float]:
    output = subprocess.run(
        [*map(str, command), directory, str(size), str(count)], capture_output=True, text=True, check=True
    ).stdout
    return json.loads(output)


@section
def spill(quick: bool) -> str:
    """Values to disk and back: `bench/spill.c`, `bench/spill_stock.py`."""
    rows: list[list[object]] = []
    for name, size, count in SPILL_CASES:
        best: dict[str, dict[str, float]] = {"stock": {}, "cask": {}}
        for _ in range(3 if quick else 7):
            with tempfile.TemporaryDirectory(prefix="cask-bench-spill-") as directory:
                found = {
                    "cask": spill_once([BUILD / "bench/spill"], directory, size, max(count // 4, 1) if quick else count),
                    # Stock's 10 KiB would take a minute: a tenth of them will do.
                    "stock": spill_once(
                        [sys.executable, ROOT / "bench/spill_stock.py"], directory, size, max(count // 10, 2)
                    ),
                }
            for kind, numbers in found.items():
                for key, number in numbers.items():
                    better = min if key == "cpu_seconds" else max
                    best[kind][key] = better(best[kind].get(key, number), number)
        for what, raw in (("spill", "raw_write"), ("unspill", "raw_read")):
            stock, cask = best["stock"][what], best["cask"][what]
            rows.append(
                [f"{what} {name}", f"{best['cask'][raw] / 1e6:,.0f}", f"{stock / 1e6:,.0f}", f"{cask / 1e6:,.0f}"]
                + [f"{cask / best['cask'][raw]:.0%}", f"**{times(cask / stock)}**"]
            )
    head = ["", "raw, MB/s", "stock, MB/s", "cask, MB/s", "of raw", "cask / stock"]
    return (
        "Random bytes, which do not compress; the best of several rounds, in turn, in one directory. Nothing is synced, so all of "
        "it is the page cache. Raw: one new file, 1 MiB a call, without checks. Stock: `SpillBuffer` without room, NumPy arrays; "
        "cask: `src/store` with loop and threads, serialised values (what executors do before is not in it), a "
        "64-bit check of every byte.\n\n" + table(head, rows)
    )


def one_life(kind: str, workers: int) -> dict[str, float]:
    """Seconds of a local cluster's life, and the CPU of all its processes."""
    program = [sys.executable, str(Path(__file__).with_name("start.py")), kind, str(workers)]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    told = subprocess.run(program, env=ENVIRONMENT, check=True, capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    return {**json.loads(told.stdout), "cpu": cpu}


@section
def local_clusters(quick: bool) -> str:
    """From `LocalCluster(n_workers=4)` to the first result, and to its end."""
    lives: dict[str, list[dict[str, float]]] = {kind: [] for kind in KINDS}
    for i in range(3 if quick else 10):
        for kind in KINDS if i % 2 == 0 else KINDS[::-1]:
            lives[kind].append(one_life(kind, 4))
    rows = []
    for name, what in (
        ("workers", "until all workers are there"),
        ("result", "then until a client has a first result"),
        ("closed", "closing client and cluster"),
        ("cpu", "CPU of all processes, import of Dask included"),
    ):
        stock_time, cask_time = (statistics.median(life[name] for life in lives[kind]) for kind in KINDS)
        rows.append([what, f"{stock_time:.2f} s", f"{cask_time:.2f} s", times(stock_time / cask_time)])
    return (
        "Medians; each life in a Python of its own (`bench/start.py`), imports done. Stock's workers are Python processes with "
        "nannies, cask's start one Python each.\n\n" + table(["", "stock", "cask", "ratio"], rows)
    )


@section
def dashboard(quick: bool) -> str:
    """The dashboard: what it costs, and how quick it is"""
    rows = dashboards.measure(list(dashboards.CHECKS), quick)
    return (
        "The measured ones of the acceptance checks ([docs/acceptance.md](../docs/acceptance.md)), by `bench/dashboard.py`. Stock's "
        "figures in brackets are older measurements on the same machine. Shares are of a core.\n\n"
        + table(["check", "target", "stock", "cask"], list(map(list, rows)))
    )


def about(quick: bool) -> str:
    """When, from what and where a section's numbers are."""
    commit = subprocess.run(
        ["git", "-C", ROOT, "log", "-1", "--format=%h"], capture_output=True, text=True, check=False
    ).stdout.strip()
    date = datetime.datetime.now().strftime("%Y-%m-%d %H:%M")
    return f"*{'--quick, ' if quick else ''}{date}, commit {commit or 'unknown'}, {machine()}*"


def write(parts: dict[str, str], output: Path) -> None:
    """Put the sections into the file; those that were not run again stay as they are."""
    bodies: dict[str, str] = {}
    if output.exists():
        for part in output.read_text().split("\n## ")[1:]:
            head, _, body = part.partition("\n")
            bodies[head] = body.strip() + "\n"
    bodies |= {title(name): body for name, body in parts.items()}
    known = [title(name) for name in SECTIONS]
    text = [
        "# Results\n",
        "`make bench` writes this file; `bench/run.py --only NAME` one section. Ratios are stock / cask, measured "
        "alternately in one run, and are what counts: absolute numbers depend on the machine and on what "
        "else it does.\n",
    ]
    for head in [*known, *(head for head in bodies if head not in known)]:  # what was renamed was measured all the same
        if head in bodies:
            text += [f"## {head}\n", bodies[head]]
    output.write_text("\n".join(text))
    print(f"written: {output}")


def title(name: str) -> str:
    return (SECTIONS[name].__doc__ or name).rstrip(".")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="smaller, fewer, in ten minutes")
    parser.add_argument("--only", nargs="+", choices=SECTIONS, default=list(SECTIONS))
    parser.add_argument("--output", type=Path, default=ROOT / "bench" / "RESULTS.md")
    arguments = parser.parse_args()
    for name in arguments.only:
        head = about(arguments.quick)
        write({name: f"{head}\n\n{SECTIONS[name](arguments.quick)}"}, arguments.output)


if __name__ == "__main__":
    main()
