"""Large graphs come in, and go, piece by piece: others are answered in between, and each stream stays in order.

No worker is there until a result is wanted, so all that is submitted stays with the scheduler.
"""

import asyncio
import os
import signal
import threading

import pytest
from dask import delayed
from distributed import wait
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


def test_questions_about_many_tasks(make_cluster, connect):
    """They are read by a thread and answered some tasks at a time; many of the keys are of no task"""
    cluster = make_cluster()
    cluster.start_workers("a")
    client = connect(cluster)
    data = {f"a-value-with-a-long-name-{i:06}": i for i in range(5_000)}
    scattered = client.scatter(data)
    keys = [*data, *keys_of("of-no-task")[:5_000]]
    address = next(iter(cluster.ask("ncores")))
    holders = cluster.ask("who_has", keys=keys)
    assert list(holders) == keys
    assert [list(holders[key]) for key in keys] == [[address]] * 5_000 + [[]] * 5_000
    assert cluster.ask("who_has").keys() == data.keys()
    assert set(cluster.ask("has_what")[address]) == data.keys()
    assert len(cluster.ask("has_what")[address]) == len(data)
    states = cluster.ask("get_task_status", keys=keys)
    assert [states[key] for key in keys] == ["memory"] * 5_000 + [None] * 5_000
    sizes = cluster.ask("nbytes", keys=list(data), summary=False)
    assert sizes == cluster.ask("nbytes", summary=False)
    assert sum(cluster.ask("nbytes", keys=None, summary=True).values()) == sum(sizes.values())
    with pytest.raises(KeyError, match="of-no-task-0"):
        cluster.ask("nbytes", keys=keys, summary=False)
    assert client.gather(scattered) == data


def test_a_worker_with_many_results_dies(make_cluster, connect):
    """What was only there is made again, piece by piece, and what needs it waits"""
    cluster = make_cluster()
    cluster.start_workers("a")
    client = connect(cluster)
    futures = client.map(inc, range(3_000))
    wait(futures, timeout=120)
    cluster.start_workers("b")
    cluster.kill_worker("a")
    total = client.submit(sum, futures)
    assert total.result(timeout=120) == sum(range(1, 3_001))
    assert client.gather(futures) == list(range(1, 3_001))
