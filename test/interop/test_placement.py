"""Where tasks run: restrictions, resources, annotations, data, moving of data."""

import dask
import numpy as np
import pytest
from dask import delayed
from distributed import SchedulerPlugin, wait
from harness import eventually
from tasks import inc, my_address, my_name, slowinc


def test_workers_by_name_address_and_host(client, b):
    assert client.submit(my_name, 1, workers="alice").result() == "alice"
    assert client.submit(my_address, 1, workers=[b]).result() == b
    two = ["alice", "carol"]
    assert set(client.gather(client.map(my_name, range(20), workers=two))) <= set(two)
    assert client.submit(inc, 1, workers="127.0.0.1").result() == 2


def test_a_task_waits_for_a_worker_that_may_come(cluster, client):
    f = client.submit(inc, 1, workers="dora", key="for-dora")
    g = client.submit(my_name, 1, workers="dora", allow_other_workers=True)
    assert g.result() in ("alice", "bob", "carol")
    assert f.status == "pending"
    cluster.start_workers("dora")
    assert f.result(timeout=10) == 2
    cluster.kill_worker("dora")


def test_resources(client):
    futures = client.map(my_name, range(6), resources={"GPU": 1})
    assert set(client.gather(futures)) == {"carol"}
    never = client.submit(inc, 1, resources={"GPU": 3}, key="never")
    tpu = client.submit(inc, 1, resources={"TPU": 1}, key="tpu")
    eventually(lambda: states(client, "never", "tpu") == ["no-worker"] * 2)
    assert never.status == tpu.status == "pending"


def states(client, *keys):
    def of(dask_scheduler):
        return [dask_scheduler.tasks[key].state for key in keys]

    return client.run_on_scheduler(of)


def test_resources_limit_how_many_run(make_cluster, connect):
    cluster = make_cluster("w", nthreads=4, options=["--resources", "slots=2"])
    client = connect(cluster)

    def count():
        import threading
        import time

        import tasks

        lock = vars(tasks).setdefault("lock", threading.Lock())
        with lock:
            tasks.running = vars(tasks).get("running", 0) + 1
            most = tasks.running
        time.sleep(0.05)
        with lock:
            tasks.running -= 1
        return most

    futures = [client.submit(count, resources={"slots": 1}, pure=False) for _ in range(10)]
    assert max(client.gather(futures)) == 2


def test_resources_added_later(client, a):
    async def add(dask_worker):
        await dask_worker.set_resources(disk=5)

    client.run(add, workers=[a])
    assert client.submit(my_name, 1, resources={"disk": 1}).result(timeout=5) == "alice"


def test_annotations_of_delayed(client, b):
    with dask.annotate(workers="bob", allow_other_workers=False):
        x = delayed(my_name)(1)
    with dask.annotate(priority=5, retries=2, resources={"GPU": 1}):
        y = delayed(my_name)(2)
    with dask.config.set({"optimization.fuse.active": False}):
        assert dask.compute(x, y, optimize_graph=False) == ("bob", "carol")

    with dask.annotate(color="blue"):
        z = delayed(annotations)(1)
    assert client.compute(z, optimize_graph=False).result()["color"] == "blue"


def annotations(_):
    from distributed.worker import get_worker, thread_state

    return dict(get_worker().state.tasks[thread_state.key].annotations)


def test_annotations_of_futures(client):
    with dask.annotate(workers="carol"):
        assert client.submit(my_name, 3).result() == "carol"
        assert set(client.gather(client.map(my_name, range(4, 8)))) == {"carol"}


def test_compute_with_workers(client):
    xs = [delayed(my_name)(i) for i in range(5)]
    futures = client.compute(xs, workers="alice", optimize_graph=False)
    assert set(client.gather(futures)) == {"alice"}
    persisted = client.persist(delayed(my_name)(9), workers="bob")
    assert persisted.compute() == "bob"


def test_scatter(client, a):
    assert client.scatter([1, 2]).__class__ is list
    d = client.scatter({"x": 1, "y": 2})
    assert {k: f.result() for k, f in d.items()} == {"x": 1, "y": 2}
    assert [f.result() for f in client.scatter((3, 4))] == [3, 4]
    one, again = client.scatter("same"), client.scatter("same")
    assert one.key == again.key
    assert client.scatter("same", hash=False).key != one.key

    everywhere = client.scatter(np.arange(5), broadcast=True)
    assert len(client.who_has(everywhere)[everywhere.key]) == 3
    direct = client.scatter(7, direct=True)
    assert direct.result() == 7 and client.who_has(direct)[direct.key]
    assert client.submit(inc, client.scatter(1, workers=[a])).result() == 2


def test_scatter_without_workers_waits(make_cluster, connect):
    cluster = make_cluster()
    client = connect(cluster)
    with pytest.raises(TimeoutError):
        client.scatter(1, timeout=0.2)
    f = client.submit(inc, 1)
    cluster.start_workers("late")
    assert f.result(timeout=10) == 2
    assert client.scatter(1).result() == 1


def test_replicate_and_rebalance(client, a):
    x, y = client.map(inc, [1, 2], workers="alice")
    wait([x, y])
    client.replicate([x], n=3)
    assert len(client.who_has(x)[x.key]) == 3
    client.replicate([x], n=1)  # and fewer again
    assert len(client.who_has(x)[x.key]) == 1
    client.replicate([y], n=2, workers=[a, *client.who_has(y)[y.key]])
    assert x.result() == 2 and y.result() == 3


def test_rebalance(make_cluster, connect):
    cluster = make_cluster("a", "b", memory="500MB")
    client = connect(cluster)
    a, b = (cluster.addresses()[name] for name in "ab")
    futures = client.scatter([np.ones(2_500_000) + i for i in range(10)], workers=[a])  # 200 MB
    wait(futures)
    eventually(lambda: cluster.infos()["a"]["metrics"]["managed_bytes"] > 150e6)

    def rebalanced():  # as soon as the workers' measurements say that it is worth it
        client.rebalance()
        return client.has_what()[b]

    eventually(rebalanced, message="some went to b")
    assert sum(x[0] for x in client.gather(futures)) == 55


def test_graceful_retirement(make_cluster, connect):
    cluster = make_cluster("a", "b")
    client = connect(cluster)
    futures = client.map(slowinc, range(10), delay=0.02, workers="a", allow_other_workers=True)
    wait(futures)
    a = cluster.addresses()["a"]
    assert set(client.retire_workers(workers=[a], close_workers=True, remove=True)) == {a}
    cluster.workers.pop("a").wait(20)
    assert all(f.status == "finished" for f in futures)  # nothing had to be computed again
    assert client.gather(futures) == list(range(1, 11))


def test_retirement_by_name(make_cluster, connect):
    cluster = make_cluster("a", "b")
    client = connect(cluster)
    a = cluster.addresses()["a"]
    assert set(client.retire_workers(names=["a"], close_workers=True)) == {a}
    eventually(lambda: set(cluster.addresses()) == {"b"})
    assert list(cluster.ask("workers_to_close", n=1)) == [cluster.addresses()["b"]]


def test_adaptive_target(client, cluster):
    assert cluster.ask("adaptive_target") == 0  # nothing to do
    futures = client.map(slowinc, range(20), delay=0.05, pure=False)
    eventually(lambda: any(f.done() for f in futures))
    assert cluster.ask("adaptive_target", target_duration=0.01) >= 3
    assert not cluster.ask("workers_to_close")  # none while there is work
    wait(futures)


class KeepsA(SchedulerPlugin):
    """Wants the worker that would be closed first to stay"""

    name = "keeps-a"

    def valid_workers_downscaling(self, scheduler, workers):
        return [ws for ws in workers if ws.name != "a"]


def test_plugins_forbid_that_a_worker_closes(make_cluster, connect):
    """They are asked before the choice: another worker is closed instead of the one they keep"""
    cluster = make_cluster("a", "b", "c")
    client = connect(cluster)
    held = [client.submit(bytes, 10**6, workers=name, pure=False) for name in ("b", "c")]
    wait(held)
    closing = {"n": 1, "attribute": "name"}
    assert list(cluster.ask("workers_to_close", **closing)) == ["a"]
    client.register_plugin(KeepsA())
    assert list(cluster.ask("workers_to_close", **closing)) != ["a"]
    assert len(cluster.ask("workers_to_close", **closing)) == 1
    assert set(cluster.ask("workers_to_close", n=3, attribute="name")) == {"b", "c"}
    del held
    eventually(cluster.empty)
    assert cluster.ask("adaptive_target") == 1
    assert client.retire_workers(n=1) and "a" in cluster.addresses()
    client.unregister_scheduler_plugin("keeps-a")
    assert cluster.ask("adaptive_target") == 0


def test_root_tasks_are_queued(client):
    """Not more than worker-saturation (1.1) of the initial tasks go to a worker at a time"""
    roots = [delayed(slowinc)(i, 0.05, dask_key_name=f"root-{i}") for i in range(30)]
    total = delayed(sum)(roots)
    future = client.compute(total, optimize_graph=False)

    def queued(dask_scheduler):
        busy = max(len(ws.processing) for ws in dask_scheduler.workers.values())
        return sum(ts.state == "queued" for ts in dask_scheduler.tasks.values()), busy

    waiting, busy = eventually(lambda: (seen := client.run_on_scheduler(queued))[0] and seen)
    assert waiting >= 15 and busy <= 2
    assert future.result() == sum(range(1, 31))


def test_memory_manager_drops_replicas(client):
    x = client.submit(inc, 1, workers="alice")
    wait(x)
    client.replicate([x])
    assert len(client.who_has(x)[x.key]) == 3
    client.amm.run_once()  # reduce-replicas
    eventually(lambda: len(client.who_has(x)[x.key]) == 1)
    assert client.amm.running() in (True, False)
