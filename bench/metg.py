"""METG(50 %): how small tasks may be until a cluster spends half of its cores' time on itself.

    metg.py [--cores workers|all] [--shape independent|stencil] [--kind stock|cask] [--tasks 20000] [--seconds 4]

Slaughter et al., "Task Bench: A Parameterized Benchmark for Evaluating Parallel Runtime Performance", 2020.
A whole graph is submitted; each of its tasks computes for a fixed time. With n tasks on c cores:

    efficiency  = n × kernel / c / wall time        kernel: what a task computes
    granularity = wall time × c / n                 what a task takes, all overhead included

METG(50 %) is the smallest granularity with at least half efficiency, so at that point one half of it is the
kernel and the other one is overhead. The clock runs from `client.get` of a graph that was built before until the client
knows of its end: serialising, sending and ordering the graph is in it.

What c counts is the question, as a cluster has processes that run no tasks:

    --cores workers   Task Bench's own. It gives Dask's client and scheduler a node of their own and counts the workers'
                      cores. Here one worker of one thread, with all its processes, is pinned to one core, client and
                      scheduler are to the others, c = 1. As there, one more task needs all results, and the client
                      waits for that one.
    --cores all       A worker of one thread for each core of the machine, c = all of them: whatever client and scheduler
                      use counts as overhead, too. The client waits for each result, which is most of what it uses.
"""

from __future__ import annotations

import argparse
import contextlib
import math
import os
import time
from collections.abc import Iterator
from typing import NamedTuple

from cluster import KINDS, Cluster, on_cores
from dask._task_spec import Task, TaskRef
from kernels import join, spin

KERNELS_US = [20, 30, 50, 75, 100, 150, 200, 300, 500, 750, 1000, 1500, 2000, 3000, 5000, 10_000, 20_000, 40_000]
WIDTH = 20  # of a stencil: tasks that may run at a time


def independent(name: str, tasks: int, seconds: float) -> tuple[dict, list]:
    """A graph without edges, and the keys that are wanted."""
    graph = {(name, i): Task((name, i), spin, seconds) for i in range(tasks)}
    return graph, list(graph)


def stencil(name: str, tasks: int, seconds: float) -> tuple[dict, list]:
    """Each task needs its three neighbours of the step before; the last step is wanted."""
    graph = {}
    steps = max(2, tasks // WIDTH)
    for step in range(steps):
        for i in range(WIDTH):
            near = range(max(0, i - 1), min(WIDTH, i + 2)) if step else ()
            inputs = [TaskRef((name, step - 1, j)) for j in near]
            graph[name, step, i] = Task((name, step, i), spin, seconds, *inputs)
    return graph, [(name, steps - 1, i) for i in range(WIDTH)]


SHAPES = {"independent": independent, "stencil": stencil}


CORES = ("workers", "all")


@contextlib.contextmanager
def start_cluster(kind: str, cores: str) -> Iterator[Cluster]:
    """A cluster placed as `cores` says; its count is the c of the definition."""
    everything = os.sched_getaffinity(0)
    if cores == "all":
        with Cluster(kind, len(everything), workers=kind) as cluster:
            yield cluster
        return
    if len(everything) < 2:
        raise RuntimeError("a core for the worker and one for client and scheduler are needed")
    worker_cores = {max(everything)}
    with on_cores(everything - worker_cores), Cluster(kind, 1, workers=kind, worker_cores=worker_cores) as cluster:
        yield cluster


class Cpu(NamedTuple):
    """CPU seconds of a cluster's processes, and of this one, its client."""

    client: float
    scheduler: float
    workers: float

    @staticmethod
    def now(cluster: Cluster) -> Cpu:
        return Cpu(time.process_time(), cluster.scheduler.cpu_seconds(), cluster.workers_cpu_seconds())


def empty_tasks_us(cluster: Cluster, shape: str, tasks: int) -> Cpu:
    """Microseconds of CPU for a task that computes nothing."""
    run_graph(cluster, shape, 200, 0)
    before = Cpu.now(cluster)
    run_graph(cluster, shape, tasks, 0)
    after = Cpu.now(cluster)
    return Cpu(*((b - a) / tasks * 1e6 for a, b in zip(before, after, strict=True)))


class Point(NamedTuple):
    """One graph's run."""

    kernel: float  # seconds of a task
    tasks: int
    wall: float
    cores: int

    @property
    def efficiency(self) -> float:
        return self.kernel * self.tasks / self.cores / self.wall

    @property
    def granularity(self) -> float:
        return self.wall * self.cores / self.tasks


def run_graph(cluster: Cluster, shape: str, tasks: int, kernel: float, joined: bool = False) -> float:
    """Seconds until all is done. Joined: until a task that needs all results is."""
    from distributed import wait

    name = f"{shape}-{os.urandom(4).hex()}"
    graph, keys = SHAPES[shape](name, tasks, kernel)
    if joined:
        graph[f"join-{name}"] = Task(f"join-{name}", join, *map(TaskRef, keys))
        keys = [f"join-{name}"]
    start = time.perf_counter()
    with cluster.client.as_current():
        futures = cluster.client.get(graph, keys, sync=False)
        wait(futures)
    seconds = time.perf_counter() - start
    if any(future.status != "finished" for future in futures):
        raise RuntimeError(f"a task failed: {next(f for f in futures if f.status != 'finished')}")
    return seconds


class Setting(NamedTuple):
    """What METG is measured of."""

    cluster: Cluster
    cores: str
    tasks_max: int
    seconds: float  # that a run takes if nothing is lost


def measure(setting: Setting, shape: str, kernel: float) -> Point:
    cluster, tasks = setting.cluster, setting.tasks_max
    if kernel:
        tasks = max(500, min(tasks, int(setting.seconds * cluster.count / kernel)))
    return Point(kernel, tasks, run_graph(cluster, shape, tasks, kernel, setting.cores == "workers"), cluster.count)


def crossing(below: Point, above: Point) -> float:
    """The granularity with half efficiency, between two points on either side of it: linear in logarithms."""
    share = (0.5 - below.efficiency) / (above.efficiency - below.efficiency)
    return math.exp((1 - share) * math.log(below.granularity) + share * math.log(above.granularity))


def half_efficient(setting: Setting, shape: str) -> float:
    """METG(50 %) in seconds."""
    run_graph(setting.cluster, shape, 200, 0)
    empty = measure(setting._replace(tasks_max=setting.tasks_max // 4), shape, 0).granularity * 1e6
    below = None
    for kernel_us in KERNELS_US:
        if kernel_us < empty / 3:
            continue  # with a kernel as long as an empty task takes, half of the time is lost
        point = measure(setting, shape, kernel_us / 1e6)
        print(
            f"{setting.cluster.kind} {shape}, {setting.cores}: {kernel_us:,} us x {point.tasks:,}: "
            f"efficiency {point.efficiency:.0%}, granularity {point.granularity * 1e6:,.0f} us",
            flush=True,
        )
        if point.efficiency >= 0.5:
            return point.granularity if below is None else crossing(below, point)
        below = point
    return math.inf


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--cores", choices=CORES, default=CORES[0])
    parser.add_argument("--shape", choices=SHAPES, nargs="+", default=list(SHAPES))
    parser.add_argument("--kind", choices=KINDS, nargs="+", default=list(KINDS))
    parser.add_argument("--tasks", type=int, default=20_000)
    parser.add_argument("--seconds", type=float, default=4)
    options = parser.parse_args()
    for kind in options.kind:
        with start_cluster(kind, options.cores) as cluster:
            setting = Setting(cluster, options.cores, options.tasks, options.seconds)
            for shape in options.shape:
                found = half_efficient(setting, shape)
                print(f"{kind} {shape}, cores of {options.cores}: METG(50 %) {found * 1e6:,.0f} us")


if __name__ == "__main__":
    main()
