"""METG(50 %): how small tasks may be until a cluster spends half of its cores' time on itself.

    metg.py [--shape independent|stencil] [--kind stock|cask] [--tasks 20000] [--seconds 4]

Slaughter et al., "Task Bench: A Parameterized Benchmark for Evaluating Parallel Runtime Performance", 2020.
A whole graph is submitted; each of its tasks computes for a fixed time. With n tasks on c cores:

    efficiency  = n × kernel / c / wall time        kernel: what a task computes
    granularity = wall time × c / n                 what a task takes, all overhead included

METG(50 %) is the smallest granularity with at least half efficiency, so at that point one half of it is the
kernel and the other one is overhead. All cores are the workers', one thread each; client and scheduler have none of their
own, so what they use counts as overhead, too. The clock runs from `client.get` of a graph that was built before until
the last task is known to be done: serialising, sending and ordering the graph is in it.
"""

from __future__ import annotations

import argparse
import math
import os
import time
from typing import NamedTuple

from cluster import KINDS, Cluster
from dask._task_spec import Task, TaskRef
from kernels import spin

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


def run_graph(cluster: Cluster, shape: str, tasks: int, kernel: float) -> float:
    """Seconds until all is done."""
    from distributed import wait

    graph, keys = SHAPES[shape](f"{shape}-{os.urandom(4).hex()}", tasks, kernel)
    start = time.perf_counter()
    with cluster.client.as_current():
        futures = cluster.client.get(graph, keys, sync=False)
        wait(futures)
    seconds = time.perf_counter() - start
    if any(future.status != "finished" for future in futures):
        raise RuntimeError(f"a task failed: {next(f for f in futures if f.status != 'finished')}")
    return seconds


def measure(cluster: Cluster, shape: str, kernel: float, tasks_max: int, seconds: float) -> Point:
    """A run of about `seconds` if nothing were lost, with at most `tasks_max` tasks"""
    tasks = max(1000, min(tasks_max, int(seconds * cluster.count / kernel))) if kernel else tasks_max
    return Point(kernel, tasks, run_graph(cluster, shape, tasks, kernel), cluster.count)


def crossing(below: Point, above: Point) -> float:
    """The granularity with half efficiency, between two points on either side of it: linear in logarithms."""
    share = (0.5 - below.efficiency) / (above.efficiency - below.efficiency)
    return math.exp((1 - share) * math.log(below.granularity) + share * math.log(above.granularity))


def half_efficient(cluster: Cluster, shape: str, tasks_max: int, seconds: float) -> float:
    """METG(50 %) in seconds."""
    run_graph(cluster, shape, 200, 0)
    empty = measure(cluster, shape, 0, tasks_max // 4, seconds).granularity * 1e6
    below = None
    for kernel_us in KERNELS_US:
        if kernel_us < empty / 3:
            continue  # with a kernel as long as an empty task takes, half of the time is lost
        point = measure(cluster, shape, kernel_us / 1e6, tasks_max, seconds)
        print(
            f"{cluster.kind} {shape}: {kernel_us:,} us x {point.tasks:,}: efficiency {point.efficiency:.0%}, "
            f"granularity {point.granularity * 1e6:,.0f} us",
            flush=True,
        )
        if point.efficiency >= 0.5:
            return point.granularity if below is None else crossing(below, point)
        below = point
    return math.inf


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--shape", choices=SHAPES, nargs="+", default=list(SHAPES))
    parser.add_argument("--kind", choices=KINDS, nargs="+", default=list(KINDS))
    parser.add_argument("--tasks", type=int, default=20_000)
    parser.add_argument("--seconds", type=float, default=4)
    options = parser.parse_args()
    for kind in options.kind:
        with Cluster(kind, count=os.cpu_count(), workers=kind) as cluster:
            for shape in options.shape:
                found = half_efficient(cluster, shape, options.tasks, options.seconds)
                print(f"{kind} {shape}: METG(50 %) {found * 1e6:,.0f} us")


if __name__ == "__main__":
    main()
