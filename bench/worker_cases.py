"""What a worker costs: stock's and cask's, each under its own scheduler, alternately.

Workers have one thread each. Stock's have no nanny, so a death there takes all data along.
"""

from __future__ import annotations

import operator
import statistics
import time
from collections.abc import Callable

import metg
from cluster import KINDS, Cluster, cpu_seconds
from tables import mebibytes, table, times


def both(measure: Callable[[str], float], repeat: int) -> dict[str, float]:
    """The median of what `measure` finds for each kind"""
    found: dict[str, list[float]] = {kind: [] for kind in KINDS}
    for i in range(repeat):
        for kind in KINDS if i % 2 == 0 else KINDS[::-1]:
            found[kind].append(measure(kind))
    return {kind: statistics.median(values) for kind, values in found.items()}


def run_all(cluster: Cluster, function: Callable[[int], object], count: int) -> float:
    """The seconds that `count` tasks take"""
    from distributed import wait

    start = time.perf_counter()
    with cluster.client.as_current():
        wait(cluster.client.map(function, range(count), pure=False))
    return time.perf_counter() - start


def median_each(measure: Callable[[str], metg.Cpu], repeat: int) -> dict[str, metg.Cpu]:
    """As both(), each of the numbers for itself."""
    fields = {}
    found: dict[str, list[metg.Cpu]] = {kind: [] for kind in KINDS}
    for i in range(repeat):
        for kind in KINDS if i % 2 == 0 else KINDS[::-1]:
            found[kind].append(measure(kind))
    for kind, runs in found.items():
        fields[kind] = metg.Cpu(*(statistics.median(column) for column in zip(*runs, strict=True)))
    return fields


def cpu_rows(count: int) -> list[list[object]]:
    """CPU of empty tasks, µs each: of `client.map`, and of whole graphs"""
    rows: list[list[object]] = []
    with Cluster("stock") as stock, Cluster("cask", workers="cask") as cask:
        clusters = {"stock": stock, "cask": cask}
        for cluster in clusters.values():
            run_all(cluster, operator.neg, 200)

        def mapped(kind: str) -> float:
            before = clusters[kind].workers_cpu_seconds()
            run_all(clusters[kind], operator.neg, count)
            return (clusters[kind].workers_cpu_seconds() - before) / count * 1e6

        cpu = both(mapped, 3)
        row = [f"{cpu[kind]:.0f}" for kind in KINDS]
        rows.append(["`client.map`: CPU of the workers, µs a task", *row, times(cpu["stock"] / cpu["cask"])])
        for shape in metg.SHAPES:
            empty = median_each(lambda kind, shape=shape: metg.empty_tasks_us(clusters[kind], shape, count // 2), 3)
            for who in metg.Cpu._fields:
                used = {kind: getattr(empty[kind], who) for kind in KINDS}
                row = [f"{used[kind]:.0f}" for kind in KINDS]
                rows.append([f"{shape}: CPU of the {who}, µs a task", *row, times(used["stock"] / used["cask"])])
    return rows


def metg_rows(count: int, seconds: float) -> list[list[object]]:
    """METG(50 %) in both definitions"""
    rows: list[list[object]] = []
    for cores in metg.CORES:
        least: dict[str, dict[str, float]] = {}
        for kind in KINDS:
            with metg.start_cluster(kind, cores) as cluster:
                setting = metg.Setting(cluster, cores, count, seconds)
                least[kind] = {shape: metg.half_efficient(setting, shape) for shape in metg.SHAPES}
        for shape in metg.SHAPES:
            found = {kind: least[kind][shape] for kind in KINDS}
            row = [f"**{found[kind] * 1e6:,.0f}**" for kind in KINDS]
            name = "the worker's core" if cores == "workers" else "all cores"
            rows.append([f"{shape}: METG(50 %), {name}, µs", *row, times(found["stock"] / found["cask"])])
    return rows


def tasks_text(quick: bool) -> str:
    """CPU for empty tasks, and METG(50 %), of `client.map` and of whole graphs"""
    rows = cpu_rows(2_000 if quick else 6_000) + metg_rows(2_000 if quick else 8_000, 1 if quick else 1.5)
    return (
        "CPU: of tasks that compute nothing, two workers of one thread. METG(50 %) as in Task Bench (Slaughter et al. 2020): "
        "wall time × cores / tasks of the graph with the shortest tasks that still compute for half of that; the other half is "
        "everything else. Half of METG is thus what a task computes. *The worker's core*, as Task Bench counts: one worker on "
        "a core of its own, client and scheduler on the others. *All cores*: a worker of one thread for each core, "
        "which client and scheduler use, too (`bench/metg.py`). Independent: a graph without edges; "
        "stencil: each task needs three of the step before.\n\n" + table(["", "stock", "cask", "ratio"], rows)
    )


def standing_still_text(quick: bool) -> str:
    seconds = 5 if quick else 30

    def first_result(kind: str) -> float:
        start = time.perf_counter()
        with Cluster(kind, count=1, workers=kind) as cluster:
            cluster.client.submit(operator.neg, 1).result()
            return time.perf_counter() - start

    first = both(first_result, 3 if quick else 7)
    rows = []
    for kind, nanny in (("stock", False), ("stock", True), ("cask", True)):
        with Cluster(kind, count=1, workers=kind, nanny=nanny) as cluster:
            cluster.client.submit(operator.neg, 1).result()
            time.sleep(6)  # a spare has started
            before, processes = cluster.workers_cpu_seconds(), cluster.worker_processes()
            time.sleep(seconds)
            share = (cpu_seconds(processes) - before) / seconds
            memory = sum(process.memory_full_info().pss for process in processes)
        if kind == "stock" and nanny:
            rows.append(["stock, with nanny", "", mebibytes(memory), f"{share:.2%}"])
        else:
            rows.append([kind, f"{first[kind]:.2f} s", mebibytes(memory), f"{share:.2%}"])
    return (
        "From the start of scheduler, client and one worker until the first result is there. Memory is proportional "
        "(pages shared by processes are split among them) and of all of a worker's processes: cask's executor and its "
        "warm spare included. A cask worker is its own nanny.\n\n" + table(["", "first result", "memory", "CPU without work"], rows)
    )
