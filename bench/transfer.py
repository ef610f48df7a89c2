"""Arrays from one worker to another: stock's, cask's by TCP and by shared memory, beside plain sockets."""

from __future__ import annotations

import multiprocessing
import resource
import socket
import statistics
import sys
import time
from contextlib import ExitStack
from typing import NamedTuple

import cloudpickle
from cluster import Cluster
from tables import table

cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers do not find this file

# Bytes of an array, how many a task needs.
CASES = [("64 KiB", 1 << 16, 256), ("1 MiB", 1 << 20, 128), ("16 MiB", 1 << 24, 16), ("256 MiB", 1 << 28, 1)]
PAGE = 4096


class Cost(NamedTuple):
    seconds: float
    cpu: float


def send(port: int, size: int) -> None:
    block = bytes(1 << 20)
    with socket.create_connection(("127.0.0.1", port)) as connection:
        for _ in range(size >> 20):
            connection.sendall(block)


def own_cpu_seconds() -> float:
    """Of this process and of its children that have ended."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


def loopback(size: int) -> Cost:
    """One process sends, this one receives into the same memory again and again."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        before = own_cpu_seconds()
        sender = multiprocessing.Process(target=send, args=(server.getsockname()[1], size))
        sender.start()
        connection, _ = server.accept()
        block = memoryview(bytearray(1 << 20))
        start = time.perf_counter()
        while connection.recv_into(block):
            pass
        seconds = time.perf_counter() - start
        connection.close()
        sender.join()
    return Cost(seconds, own_cpu_seconds() - before)


def touch(*arrays) -> int:
    """Look at every page."""
    return sum(int(array[:: PAGE // 8].sum()) for array in arrays)


def transfer(cluster: Cluster, size: int, count: int) -> Cost:
    """One task on a worker that needs `count` arrays of the other one."""
    import numpy

    source, target = sorted(cluster.client.scheduler_info()["workers"])
    arrays = [cluster.client.submit(numpy.ones, size // 8, workers=[source], pure=False) for _ in range(count)]
    cluster.client.submit(touch, *arrays, workers=[source], pure=False).result()
    cluster.client.submit(touch, workers=[target], pure=False).result()
    before, start = cluster.workers_cpu_seconds(), time.perf_counter()
    found = cluster.client.submit(touch, *arrays, workers=[target], pure=False).result()
    cost = Cost(time.perf_counter() - start, cluster.workers_cpu_seconds() - before)
    if found != count * (size // PAGE):
        raise RuntimeError(f"{cluster.kind}: {found} of {count} arrays of {size} bytes")
    return cost


def text(quick: bool) -> str:
    repeat = 5 if quick else 9
    head = ["arrays", "raw loopback", "stock", "cask, TCP", "cask, shared memory"]
    speeds: list[list[object]] = []
    costs: list[list[object]] = []
    tcp_only = {"DASK_CASK__WORKER__SHARE_MEMORY": "False"}
    with ExitStack() as stack:
        clusters = [
            stack.enter_context(Cluster("stock")),
            stack.enter_context(Cluster("cask", workers="cask", environment=tcp_only)),
            stack.enter_context(Cluster("cask", workers="cask")),
        ]
        for name, size, count in CASES:
            total = size * count
            runs: list[list[Cost]] = [[] for _ in head[1:]]
            for _ in range(repeat):
                runs[0].append(loopback(total))
                for found, cluster in zip(runs[1:], clusters, strict=True):
                    found.append(transfer(cluster, size, count))
            medians = [Cost(*map(statistics.median, zip(*found, strict=True))) for found in runs]
            raw = medians[0]
            label = f"{count} × {name}"
            print(label, medians, flush=True)
            speeds.append(
                [label] + [f"{total / cost.seconds / 1e6:,.0f} ({raw.seconds / cost.seconds:.0%})" for cost in medians]
            )
            costs.append([label, *(f"{cost.cpu / total * 1e12:,.0f}" for cost in medians)])
    return (
        "A task on one worker that reads arrays (a number of each page) which only the other one has; raw: two plain processes, "
        "into memory that is used again, nothing else done with it. MB/s, in brackets the share of raw; the task's round trip through "
        "client and scheduler, serialising and reading are in it. Medians, in turn in one run.\n\n"
        + table(head, speeds)
        + "\nCPU (user and system) of both workers with all their processes, of raw's two processes, ms a GB:\n\n"
        + table(head, costs)
    )
