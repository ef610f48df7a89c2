"""Large graphs come in, and go, piece by piece: others are answered in between, and each stream stays in order.

No worker is there until a result is wanted, so all that is submitted stays with the scheduler.
"""

import asyncio
import os
import signal
import threading

import pytest
from dask import delayed
from distributed.core import rpc
from harness import eventually
from tasks import inc

TASKS = 60_000


def keys_of(name):
    return [f"{name}-{i}" for i in range(TASKS)]


def large_map(client, name):
    return client.map(inc, range(TASKS), key=keys_of(name))


def known(cluster, keys):
    """How many of them the scheduler knows"""
    states = cluster.ask("get_task_status", keys=keys)
    return sum(state is not None for state in states.values())


class Watcher:
    """Asks again and again, on a connection of its own, how many of some keys there are"""

    def __init__(self, address, keys):
        self.keys = keys
        self.seen = []
        self._address = address
        self._end = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._watch()))

    async def _watch(self):
        async with rpc(self._address) as scheduler:
            while not self._end.is_set():
                states = await scheduler.get_task_status(keys=self.keys)
                self.seen.append(sum(state is not None for state in states.values()))

    def __enter__(self):
        self._thread.start()
        eventually(lambda: self.seen)
        return self

    def __exit__(self, *error):
        self._end.set()
        self._thread.join()

    def between(self):
        """Was it answered when there were some, and not all?"""
        return any(0 < count < len(self.keys) for count in self.seen)


def only_cask(kind):
    if kind == "stock":
        pytest.skip("stock answers nobody while it reads a graph")


def test_others_are_answered_while_a_graph_comes(kind, make_cluster, connect):
    only_cask(kind)
    cluster = make_cluster()
    client = connect(cluster)
    sample = keys_of("m")[::1000]
    with Watcher(cluster.address, sample) as watcher:
        futures = large_map(client, "m")
        eventually(lambda: watcher.seen[-1] == len(sample))
    assert watcher.between()
    assert len(futures) == len(cluster.ask("who_has"))


def test_others_are_answered_while_a_client_leaves(kind, make_cluster, connect):
    only_cask(kind)
    cluster = make_cluster()
    client = connect(cluster)
    futures = large_map(client, "m")
    sample = keys_of("m")[::1000]
    eventually(lambda: known(cluster, sample) == len(sample))
    with Watcher(cluster.address, sample) as watcher:
        client.close()
        eventually(lambda: watcher.seen[-1] == 0)
    assert watcher.between()
    assert cluster.empty() and futures[0].status == "cancelled"


def test_a_stream_stays_in_order(make_cluster, connect):
    cluster = make_cluster()
    client = connect(cluster)
    futures = large_map(client, "m")
    sum_of_two = client.submit(sum, [futures[0], futures[-1]])  # known only after the graph
    del futures
    again = client.submit(inc, 7, key=f"m-{TASKS // 2}")  # released before, and wanted anew
    left = {sum_of_two.key, again.key, "m-0", f"m-{TASKS - 1}"}
    eventually(lambda: set(cluster.ask("who_has")) == left)
    cluster.start_workers("a")
    assert sum_of_two.result(timeout=60) == 1 + TASKS
    assert isinstance(again.result(timeout=60), int)
    del sum_of_two, again
    eventually(cluster.empty)


def test_client_leaves_in_the_middle(make_cluster, connect):
    cluster = make_cluster()
    stays, leaves = connect(cluster), connect(cluster)
    kept = stays.submit(inc, TASKS - 1, key=f"m-{TASKS - 1}")
    futures = large_map(leaves, "m")
    eventually(lambda: known(cluster, keys_of("m")[:-1:1000]))  # some of it is there
    leaves.close()
    assert futures[0].status == "cancelled"
    eventually(lambda: list(cluster.ask("who_has")) == [kept.key])
    cluster.start_workers("a")
    assert kept.result(timeout=60) == TASKS


def test_cancel_in_the_middle(make_cluster, connect):
    cluster = make_cluster()
    client = connect(cluster)
    futures = large_map(client, "m")
    client.cancel(futures)
    eventually(lambda: all(f.cancelled() for f in futures))
    eventually(cluster.empty)
    cluster.start_workers("a")
    assert client.submit(inc, 1).result(timeout=60) == 2


def test_restart_in_the_middle(make_cluster, connect):
    cluster = make_cluster()
    client = connect(cluster)
    futures = large_map(client, "m")
    eventually(lambda: known(cluster, keys_of("m")[::1000]))  # some of it is there
    client.restart()
    assert all(f.cancelled() for f in futures)
    eventually(cluster.empty)
    cluster.start_workers("a")
    assert client.submit(inc, 1).result(timeout=60) == 2


def test_planner_is_killed_in_the_middle(kind, make_cluster, connect):
    only_cask(kind)
    cluster = make_cluster()
    client = connect(cluster)
    planner = client.run_on_scheduler(os.getpid)
    os.kill(planner, signal.SIGSTOP)  # so that it has the graph, and has not answered
    futures = client.compute([delayed(inc)(i) for i in range(10_000)], optimize_graph=False)
    before = client.submit(inc, 1)  # held until the graph is in, or has failed
    assert cluster.empty()
    os.kill(planner, signal.SIGKILL)
    eventually(lambda: all(f.status == "error" for f in futures))
    assert "planner" in str(futures[-1].exception(timeout=10))
    cluster.start_workers("a")
    assert before.result(timeout=60) == 2
    assert client.compute(delayed(inc)(5)).result(timeout=60) == 6
