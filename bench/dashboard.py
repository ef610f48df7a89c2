"""What the dashboard costs and how quick it is: the measured ones of the acceptance checks (docs/acceptance.md).

    dashboard.py [--quick] [--check A1 ...]

BUILD names the build folder (build/). CPU is user and system time, by the processes' own clocks. Browsers are Chromium
(`npm ci` in web/). What stock's dashboard costs is measured beside it where that is cheap (A3, A5, A14), else the figure
is the one that was measured when cask's dashboard was designed, in brackets.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil

from cluster import BUILD, ENVIRONMENT, ROOT, Cluster, Scheduler
from tables import mebibytes, table

GRAPHS = Path(os.environ.get("CASK_BENCH_GRAPHS", BUILD / "bench" / "graphs"))
WORKERS, THREADS = 64, 4
RATE = 10_000
TASKS = 1_000_000

Row = tuple[str, str, str, str]  # what, target, stock's, ours
Check = Callable[[bool], list[Row]]
CHECKS: dict[str, Check] = {}


def check(*names: str) -> Callable[[Check], Check]:
    def add(function: Check) -> Check:
        CHECKS.update(dict.fromkeys(names, function))
        return function

    return add


# ---- processes ----


def cpu_of(pid: int) -> float:
    """CPU seconds of one process with all its threads, by its own clock."""
    return time.clock_gettime((~pid << 3) | 2)


def observer_of(pid: int) -> int:
    for child in psutil.Process(pid).children():
        if "observer" in child.cmdline():
            return child.pid
    raise RuntimeError("the scheduler has no observer")


def share(pids: list[int], seconds: float) -> float:
    """Of a core, that these processes take in the next seconds."""
    begin, before = time.monotonic(), sum(map(cpu_of, pids))
    time.sleep(seconds)
    return (sum(map(cpu_of, pids)) - before) / (time.monotonic() - begin)


def percent(value: float) -> str:
    return f"{value:.2%}"


def ask(base: str, path: str) -> dict:
    with urllib.request.urlopen(f"{base}/api/cask/v1/{path}", timeout=120) as answer:
        return json.loads(answer.read())


def base_of(scheduler: Scheduler) -> str:
    import asyncio

    from distributed.core import rpc

    async def port() -> int:
        async with rpc(scheduler.address) as peer:
            return (await peer.identity(n_workers=0))["services"]["dashboard"]

    return f"http://127.0.0.1:{asyncio.run(port())}"


@contextlib.contextmanager
def observed(kind: str = "cask", **settings: str) -> Iterator[tuple[Scheduler, str]]:
    """A scheduler with its dashboard, whose history goes with it."""
    with tempfile.TemporaryDirectory(prefix="cask-bench-") as state:
        added = {"XDG_STATE_HOME": state, "DASK_CASK__DASHBOARD__LINGER": "0s", **settings}
        before = {name: ENVIRONMENT.get(name) for name in added}
        ENVIRONMENT.update(added)
        try:
            with Scheduler(kind, dashboard=True, prewarm=False) as scheduler:
                yield scheduler, base_of(scheduler)
        finally:
            for name, value in before.items():
                ENVIRONMENT.pop(name) if value is None else ENVIRONMENT.update({name: value})


def graph(shape: str, tasks: int) -> Path:
    path = GRAPHS / f"{shape}-{tasks}.graph"
    if not path.exists():
        GRAPHS.mkdir(parents=True, exist_ok=True)
        subprocess.run([sys.executable, ROOT / "bench/graphs.py", shape, str(tasks), path], check=True)
    return path


@contextlib.contextmanager
def load(scheduler: Scheduler, shape: str, tasks: int, rate: float = 0) -> Iterator[subprocess.Popen]:
    """Simulated workers and a client, until they have done or the block has."""
    command = [BUILD / "bench/loadgen", scheduler.port, scheduler.pid, graph(shape, tasks), WORKERS, THREADS, rate]
    process = subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def wait_for(condition: Callable[[], object], what: str, seconds: float = 120) -> None:
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise TimeoutError(what)
        time.sleep(0.02)


class Viewers:
    """bench/dashboard_viewers.py"""

    def __init__(self, base: str, count: int, hz: float, *channels: str) -> None:
        command = [sys.executable, ROOT / "bench/dashboard_viewers.py", base.rpartition(":")[2], count, hz, *channels]
        self.process = subprocess.Popen(list(map(str, command)), stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        if self.process.stdout.readline() != "ready\n":
            raise RuntimeError("the viewers were refused")

    def close(self) -> dict:
        return json.loads(self.process.communicate("")[0])


class Browser:
    """bench/dashboard_browser.mjs"""

    def __enter__(self) -> Browser:
        command = ["node", str(ROOT / "bench/dashboard_browser.mjs")]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.do("close")  # it has started
        return self

    def do(self, what: str, **wish: object) -> object:
        self.process.stdin.write(json.dumps({"do": what, **wish}) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def __exit__(self, *error: object) -> None:
        self.process.communicate("")


# ---- while it works ----


class Shares:
    """Of a core, that each of the processes takes in some seconds."""

    def __init__(self, seconds: float, *pids: int) -> None:
        self.seconds, self.pids = seconds, pids

    def measure(self) -> list[float]:
        begin, before = time.monotonic(), [cpu_of(pid) for pid in self.pids]
        time.sleep(self.seconds)
        return [(cpu_of(pid) - b) / (time.monotonic() - begin) for pid, b in zip(self.pids, before, strict=True)]


@check("A1", "A2", "A9")
def at_work(quick: bool) -> list[Row]:
    """10,000 tasks a second, of a graph of a million tasks in 200 groups."""
    with observed() as (scheduler, base), load(scheduler, "groups", TASKS, RATE) as process:
        shares = Shares(2 if quick else 4, scheduler.pid, observer_of(scheduler.pid))
        wait_for(lambda: ask(base, "summary")["runs"] > 0, "work began")
        begun = time.monotonic()
        alone, watched = [], []
        for _ in range(4):  # in turns, as what the machine does besides is more than what is to be seen
            alone.append(shares.measure())
            pages = Viewers(base, 3, 2, "summary", "workers", "groups", "failures", "findings", "stream")  # what any page asks for
            watched.append(shares.measure())
            pages.close()
        viewer = Viewers(base, 1, 5, "summary", "workers", "stream")
        one = shares.measure()
        ages = viewer.close()["ages"]
        viewers = Viewers(base, 1000, 2, "summary")
        many = shares.measure()
        crowd = viewers.close()
        rate = ask(base, "summary")["runs"] / (time.monotonic() - begun)
        if process.poll() is not None:
            raise RuntimeError("the work ended before all was measured: the machine is too busy")
    base_share = [statistics.median(column) for column in zip(*alone, strict=True)]
    more = statistics.median(w[0] - a[0] for a, w in zip(alone, watched, strict=True))
    return [
        (f"A1 scheduler, three pages' subscriptions against none, {rate:,.0f} tasks/s", "≤ +0.5 points",
         "[+6 to +8 points a page, at 200 tasks/s]", f"{more * 100:+.2f} points (none: {percent(base_share[0])})"),
        ("A2 observer, no viewer / one / 1,000", "≤ 5 % / ≤ 10 %", "—",
         f"{percent(base_share[1])} / {percent(one[1])} / {percent(many[1])}; {crowd['frames']:,} frames"),
        ("A2 scheduler, 1,000 viewers against none", "+0", "—", f"{(many[0] - base_share[0]) * 100:+.2f} points"),
        ("A9 end of a task → it is at the viewer, p50 / p99", "p99 ≤ 1 s", "—",
         f"{ages[len(ages) // 2] * 1e3:.0f} / {ages[len(ages) * 99 // 100] * 1e3:.0f} ms of {len(ages):,} runs"),
    ]  # fmt: skip


@check("A5", "A6", "A8")
def pages(quick: bool) -> list[Row]:
    """A million tasks in 200 groups are known, little is done: what a page costs to open, and how soon it shows data."""
    with observed() as (scheduler, base), Browser() as browser, load(scheduler, "groups", TASKS, 100):
        wait_for(lambda: ask(base, "summary")["runs"] > 0, "work began")
        found: dict[str, list[dict]] = {}
        for _ in range(1 if quick else 3):
            for page in ("status", "tasks", "groups", "graph", "workers", "memory", "scheduler", "logs", "problems"):
                found.setdefault(page, []).extend(browser.do("open", urls=[f"{base}/{page}"], drawn=True))
                browser.do("close")
        browser.do("open", urls=[f"{base}/status"])
        browser.do("socket")
        begin = time.monotonic()
        time.sleep(10)
        socket_rate = browser.do("socket") / (time.monotonic() - begin)
    first = found["status"][0]
    soon = {page: min(visit["first_ms"] for visit in visits) for page, visits in found.items()}
    return [
        ("A5 first load: bytes, requests", "≤ 70 kB, ≤ 5", "[3.97 MB, 19]", f"{first['bytes'] / 1e3:.0f} kB, {first['requests']}"),
        ("A5 overview, bytes a second", "≤ 10 kB/s", "[46–56 kB/s at 200 tasks/s]", f"{socket_rate / 1e3:.1f} kB/s"),
        ("A6 first data drawn, 1 M tasks known", "< 300 ms any page", "[2,000–15,000 ms]",
         ", ".join(f"{name} {ms:.0f}" for name, ms in soon.items()) + " ms"),
        ("A8 graph and groups, 1 M tasks in 200 groups", "< 1 s", "[refuses > 5,000 tasks]", f"{soon['graph']:.0f} ms, {soon['groups']:.0f} ms"),
    ]  # fmt: skip


def task_seconds(scheduler: Scheduler, tasks: int) -> float:
    """CPU of the scheduler's process for one of so many tasks."""
    before = cpu_of(scheduler.pid)
    with load(scheduler, "merge", tasks) as process:
        wait_for(lambda: process.poll() is not None, "the load is done")
    return (cpu_of(scheduler.pid) - before) / tasks


@check("A4")
def ring(quick: bool) -> list[Row]:
    """What recording costs the scheduler's process, and whether records are lost. Memory is new once in a scheduler's life, so
    the first graphs, as many as fill the ring, are told apart."""
    first: dict[str, list[float]] = {"True": [], "False": []}
    then: dict[str, list[float]] = {"True": [], "False": []}
    tasks = 100_000
    for i in range(3 if quick else 5):
        for on in ("True", "False") if i % 2 == 0 else ("False", "True"):
            ENVIRONMENT["DASK_CASK__DASHBOARD__PROCESS"] = on
            try:
                with tempfile.TemporaryDirectory() as state:
                    ENVIRONMENT["XDG_STATE_HOME"] = state
                    with Scheduler("cask", dashboard=True, prewarm=False) as scheduler:
                        spent = [task_seconds(scheduler, tasks) * 1e6 for _ in range(6)]
                        first[on].append(spent[0])
                        then[on] += spent[2:]
            finally:
                del ENVIRONMENT["DASK_CASK__DASHBOARD__PROCESS"], ENVIRONMENT["XDG_STATE_HOME"]
    with observed() as (scheduler, base), load(scheduler, "groups", 300_000, 50_000) as process:
        told = json.loads(process.stdout.read())
        summary = ask(base, "summary")

    def least(spent: dict[str, list[float]]) -> str:  # what else the machine does only adds
        on, off = (min(spent[way]) for way in ("True", "False"))
        return f"{on:.2f} / {off:.2f} µs = {on / off - 1:+.1%}"

    return [
        ("A4 scheduler's CPU a task, with ring / without", "≤ 1 %", "—", least(then)),
        ("A4 the same of the first 100,000 tasks of a scheduler's life", "", "—", least(first)),
        ("A4 records dropped, 50,000 tasks/s asked for", "0", "—",
         f"{summary['ring']['dropped']:,}; {told['tasks_per_second']:,.0f} tasks/s came, {summary['runs']:,} runs seen"),
    ]  # fmt: skip


# ---- while nothing happens ----


@check("A3")
def idle(quick: bool) -> list[Row]:
    """Two stock workers, no work; six tabs, then none."""
    seconds = 10 if quick else 15
    found = {}
    for kind in ("stock", "cask"):
        with observed(kind) as (scheduler, base), workers_of(scheduler), Browser() as browser:
            pids = [process.pid for process in scheduler.processes()]
            time.sleep(5)
            before = share(pids, seconds)
            browser.do("open", urls=[f"{base}/{page}" for page in ("status", "tasks", "graph", "groups", "workers", "system")])
            time.sleep(2)
            watched = share(pids, seconds)
            browser.do("close")
            time.sleep(5)
            found[kind] = f"{percent(before)} / {percent(watched)} / {percent(share(pids, seconds))}"
    what = "A3 idle: scheduler and observer with no tab / six / 5 s after closing"
    return [(what, "six ≤ 0.5 %, then as before ± 0.1 points", found["stock"], found["cask"])]


@contextlib.contextmanager
def workers_of(scheduler: Scheduler, count: int = 2) -> Iterator[list[subprocess.Popen]]:
    """Stock's."""
    with tempfile.TemporaryDirectory(prefix="cask-bench-") as folder:
        command = [sys.executable, "-m", "dask", "worker", scheduler.address, "--nthreads", "1", "--no-nanny", "--no-dashboard"]
        processes = [
            subprocess.Popen(
                [*command, "--local-directory", folder], env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            for _ in range(count)
        ]
        try:
            from distributed import Client

            with Client(scheduler.address, set_as_default=False, timeout=60) as client:
                client.wait_for_workers(count, timeout=120)
            yield processes
        finally:
            for process in processes:
                process.kill()
                process.wait()


@check("START")
def start(quick: bool) -> list[Row]:
    """From the process's start until the scheduler takes connections."""
    seconds: dict[bool, list[float]] = {True: [], False: []}
    with tempfile.TemporaryDirectory() as state:
        for _ in range(5 if quick else 15):
            for on in seconds:
                added = {"XDG_STATE_HOME": state, "DASK_CASK__DASHBOARD__PROCESS": str(on)}
                ENVIRONMENT.update(added)
                try:
                    with Scheduler("cask", dashboard=on, prewarm=False) as scheduler:
                        seconds[on].append(scheduler.startup_seconds)
                finally:
                    for name in added:
                        del ENVIRONMENT[name]
    on, off = (statistics.median(seconds[way]) * 1e3 for way in (True, False))
    return [("Start of the scheduler with the dashboard / without", "≤ 50 ms", "—", f"{on:.0f} / {off:.0f} ms")]


# ---- what went wrong ----


@check("A9F", "A11")
def ends(quick: bool) -> list[Row]:
    """How soon a failure, and the scheduler's death, are seen."""
    from distributed import Client

    fresh, died, lost = [], [], []
    for _ in range(2 if quick else 5):
        settings = {"DASK_CASK__DASHBOARD__LINGER": "1 minute"}
        with observed(**settings) as (scheduler, base), workers_of(scheduler, 1), Client(scheduler.address, set_as_default=False) as client:
            observer = observer_of(scheduler.pid)
            viewer = Viewers(base, 1, 10, "failures", "summary")
            for i in range(5):
                future = client.submit(lambda x: 1 / x, 0, key=f"failing{i}-0", pure=False)
                future.exception()
                begin = time.monotonic()
                wait_for(lambda i=i: ask(base, "failures")["total"] > i, "the failure is told")
                fresh.append(time.monotonic() - begin)
            client.gather(client.map(abs, range(500), pure=False))
            os.kill(scheduler.pid, signal.SIGKILL)
            begin = time.monotonic()
            wait_for(lambda: ask(base, "summary")["scheduler"]["state"] == "died", "the death is told")
            died.append(time.monotonic() - begin)
            lost.append(505 - ask(base, "summary")["runs"])
            viewer.close()
            os.kill(observer, signal.SIGKILL)
    return [
        ("A9 failure → the dashboard tells it", "≤ 300 ms", "—", f"at most {max(fresh) * 1e3:.0f} ms"),
        ("A11 `kill -9` of the scheduler → the dashboard tells it", "≤ 2 s", "[gone with it]", f"at most {max(died) * 1e3:.0f} ms"),
        ("A11 finished runs that it then lacks", "≤ 0.5 s of them", "[all]", f"{max(lost)} of 505"),
    ]


# ---- reports, history ----


@check("A14")
def reports(quick: bool) -> list[Row]:
    from distributed import Client

    rows = []
    targets = {1_000: "≤ 250 kB, 1 s", 10_000: "≤ 350 kB, 1 s", 1_000_000: "≤ 5 MB, 5 s"}
    stock = {1_000: "[243 kB + CDN, 3.7 s in the loop]", 10_000: "[1.88 MB + CDN, 4.3 s in the loop]", 1_000_000: "—"}
    for tasks in (1_000, 10_000) if quick else (1_000, 10_000, 1_000_000):
        with observed() as (scheduler, base):
            with load(scheduler, "groups", tasks) as process:
                wait_for(lambda p=process: p.poll() is not None, "the load is done", 300)
            with Client(scheduler.address, set_as_default=False) as client:
                client.sync(client.scheduler.loop_turns, reset=True)
                begin, before = time.monotonic(), cpu_of(observer_of(scheduler.pid))
                with urllib.request.urlopen(f"{base}/api/cask/v1/report.html", timeout=120) as answer:
                    size = len(answer.read())
                seconds = time.monotonic() - begin
                cpu = cpu_of(observer_of(scheduler.pid)) - before
                turns = client.sync(client.scheduler.loop_turns)
        rows.append((f"A14 report of {tasks:,} runs", targets[tasks] + "; no turn longer", stock[tasks],
                     f"{size / 1e3:,.0f} kB, {seconds:.2f} s ({cpu:.2f} s of CPU); longest turn {turns['longest_cpu'] * 1e3:.1f} ms"))  # fmt: skip
    return rows


@check("A21")
def history(quick: bool) -> list[Row]:
    """bench/history.c says what it prints."""
    rows = []
    for keys in ("collections", "futures"):
        command = [str(BUILD / "bench/history"), "1000000" if quick else "10000000", keys]
        output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        rows.append((f"A21 history, keys of {keys}", "10 M runs ≤ 150 MB; ≤ 1 % of a core at 10 k/s; open < 500 ms", "[none]", output.strip().replace("\n", "; ")))
    return rows


# ---- long, large ----


@check("A7")
def zooming(quick: bool) -> list[Row]:
    """Wheel from the whole stream to a millisecond and back, a million runs."""
    tasks, frames = (300_000, 200) if quick else (1_000_000, 600)
    with observed() as (scheduler, base), Browser() as browser:
        with load(scheduler, "groups", tasks) as process:
            wait_for(lambda: process.poll() is not None, "the load is done", 300)
        runs = ask(base, "summary")["runs"]
        browser.do("open", urls=[f"{base}/tasks?last=3600"], drawn=True)
        drawing = sorted(browser.do("zoom", frames=frames))
        heap = browser.do("heap")
    return [(f"A7 task stream of {runs:,} runs, {len(drawing)} frames of zooming: drawing, median / p95; heap",
             "≤ 8 / ≤ 16.7 ms; ≤ 80 MB", "[blocked for 36 s; 126 MB with 12 k runs]",
             f"{drawing[len(drawing) // 2]:.1f} / {drawing[len(drawing) * 95 // 100]:.1f} ms; {heap / 1e6:.1f} MB")]  # fmt: skip


@check("A23")
def soak(quick: bool) -> list[Row]:
    """Eight hours in minutes: two pages at 1,000 tasks a second, and so little memory for runs that it is full after a
    third. What is there in the middle third, and in the last."""
    minutes, cap = (2, 4) if quick else (3, 6)
    samples = []
    with (
        observed(DASK_CASK__DASHBOARD__MEMORY=f"{cap} MiB") as (scheduler, base),
        Browser() as browser,
        load(scheduler, "groups", 1_000_000, 1000),
    ):
        observer = psutil.Process(observer_of(scheduler.pid))
        browser.do("open", urls=[f"{base}/status", f"{base}/tasks"])
        for _ in range(minutes * 6):
            time.sleep(10)
            memory = observer.memory_info()
            samples.append((browser.do("heap"), memory.rss - memory.shared))  # the ring is counted as it is touched, and is the scheduler's
    third = len(samples) // 3
    heap, memory = ([statistics.median(one[i] for one in part) for part in (samples[third : 2 * third], samples[-third:])] for i in (0, 1))
    return [(f"A23 {minutes} minutes, 1,000 tasks/s, {cap} MiB for runs: heap of two tabs and observer's own memory, in the middle third / in the last",
             "heap ± 10 %; ≤ its cap", "[grows: #6103]",
             f"{heap[0] / 1e6:.1f} / {heap[1] / 1e6:.1f} MB; {mebibytes(memory[0])} / {mebibytes(memory[1])}")]  # fmt: skip


def measure(names: list[str], quick: bool) -> list[Row]:
    rows = []
    for function in dict.fromkeys(CHECKS[name] for name in names):
        found = function(quick)
        rows += found
        print(table(["check", "target", "stock", "cask"], list(map(list, found))), flush=True)
    return rows


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="smaller, shorter")
    parser.add_argument("--check", nargs="+", choices=CHECKS, default=list(CHECKS))
    arguments = parser.parse_args()
    measure(arguments.check, arguments.quick)


if __name__ == "__main__":
    main()
