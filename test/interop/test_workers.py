"""Workers that come, go, freeze and die while there is work."""

import os
import signal

import dask.array as da
import pytest
from distributed import Client, Event, KilledWorker, wait
from distributed.client import FutureCancelledError
from harness import eventually
from tasks import add, die, inc, my_name, slowinc


def test_tasks_wait_for_the_first_worker(make_cluster, connect):
    cluster = make_cluster()
    client = connect(cluster)
    total = client.submit(sum, client.map(inc, range(20)))
    assert total.status == "pending"
    cluster.start_workers("w")
    assert total.result(timeout=20) == 210


def test_work_spreads_to_a_worker_that_comes_later(make_cluster, connect):
    cluster = make_cluster("a")
    client = connect(cluster)
    started = Event("b-started", client=client)
    first = client.submit(lambda event: event.wait(), started)  # or all could be over before b is there
    futures = client.map(slowinc, range(100), delay=0.05)
    cluster.start_workers("b")
    started.set()
    wait([first, *futures])
    assert all(len(keys) >= 10 for keys in client.has_what().values())


def test_lost_results_are_computed_again(make_cluster, connect):
    cluster = make_cluster("a", "b")
    client = connect(cluster)
    xs = client.map(inc, range(10), workers="a", allow_other_workers=True)
    ys = client.map(add, xs, xs)
    wait([*xs, *ys])
    cluster.kill_worker("a")
    assert client.gather(ys) == [2 * i for i in range(1, 11)]
    assert client.gather(xs) == list(range(1, 11))


def test_lost_inputs_of_inputs_are_computed_again(make_cluster, connect):
    """Intermediate results that nobody holds any more must come back, too"""
    cluster = make_cluster("a", "b")
    client = connect(cluster)
    x = client.submit(inc, 1, workers="a", allow_other_workers=True, key="x")
    y = client.submit(inc, x, workers="a", allow_other_workers=True, key="y")
    z = client.submit(inc, y, workers="a", allow_other_workers=True, key="z")
    wait(z)
    del x, y
    eventually(lambda: not any(client.who_has(["x", "y"]).values()))
    cluster.kill_worker("a")
    assert z.result(timeout=20) == 4


def test_death_while_a_result_travels(make_cluster, connect):
    cluster = make_cluster("a", "b")
    client = connect(cluster)
    xs = client.map(lambda i: bytes([i]) * 5_000_000, range(8), workers="a", allow_other_workers=True)
    wait(xs)
    lengths = client.map(len, xs, workers="b")
    eventually(lambda: any(f.done() for f in lengths))
    cluster.kill_worker("a")
    assert client.gather(lengths) == [5_000_000] * 8


def pids(client):
    return set(client.run(os.getpid, on_error="ignore").values())


@pytest.mark.timeout(200)
def test_the_answer_is_right_while_workers_keep_dying(make_cluster, connect):
    cluster = make_cluster("a", "b", "c", nanny=True)
    client = connect(cluster)
    x = da.random.default_rng(1).random((700, 700), chunks=(100, 100))
    expected = (x @ x.T).sum().compute(scheduler="sync")
    future = client.compute((x @ x.T).sum())
    for _ in range(2):
        before = pids(client)
        os.kill(min(before), signal.SIGKILL)
        eventually(lambda before=before: pids(client) - before, 60, "its nanny starts another")
    assert future.result(timeout=90) == pytest.approx(expected)


def test_killed_worker_names_what_died(make_cluster, connect):
    env = {"DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "0"}
    cluster = make_cluster("a", env=env)
    client = connect(cluster)
    a = cluster.addresses()["a"]
    bad = client.submit(die, key=("bad", 0))
    dependent = client.submit(inc, bad)
    for f in (bad, dependent):
        with pytest.raises(KilledWorker) as caught:
            f.result(timeout=20)
        assert caught.value.task == ("bad", 0)
        assert caught.value.allowed_failures == 0
        assert caught.value.last_worker.address == a
    cluster.start_workers("b")
    assert client.submit(inc, 1).result() == 2


def test_innocent_tasks_survive_their_workers_death(make_cluster, connect):
    """Only what was processing on the dead worker is suspect, and only the guilty one repeatedly"""
    cluster = make_cluster("a", "b", nanny=True, nthreads=2)
    client = connect(cluster)
    good = client.map(slowinc, range(50), delay=0.02, retries=0)
    bad = client.submit(die, key="bad", priority=10)
    with pytest.raises(KilledWorker):
        bad.result(timeout=60)
    done = [f for f in good if f.exception(timeout=60) is None]
    assert len(done) >= 40
    assert client.gather(done) == [f.result() for f in done]


def test_a_worker_that_freezes_is_given_up(make_cluster, connect):
    env = {"DASK_DISTRIBUTED__SCHEDULER__WORKER_TTL": "1s"}
    cluster = make_cluster("a", "b", env=env)
    client = connect(cluster)
    f = client.submit(slowinc, 1, delay=0.5, workers="a", allow_other_workers=True)
    eventually(lambda: any(client.processing().values()))
    cluster.workers["a"].popen.send_signal(signal.SIGSTOP)
    assert f.result(timeout=30) == 2
    eventually(lambda: set(cluster.addresses()) == {"b"}, 20)


def test_a_name_can_be_used_again(make_cluster, connect):
    cluster = make_cluster("a")
    client = connect(cluster)
    old = cluster.addresses()["a"]
    assert client.submit(my_name, workers="a", pure=False).result() == "a"
    cluster.kill_worker("a")
    cluster.start_workers("a")
    assert cluster.addresses()["a"] != old
    assert client.submit(my_name, workers="a", pure=False).result() == "a"


def test_a_second_worker_of_the_same_name_is_refused(make_cluster):
    cluster = make_cluster("a")
    first = cluster.workers["a"]
    cluster.start_workers("a", wait=False)
    second = cluster.workers["a"]
    try:
        assert second.wait(30) != 0
        assert "name taken" in second.log()
        assert first.alive and len(cluster.addresses()) == 1
    finally:
        first.close()


def test_retire_all_but_one_then_the_last(make_cluster, connect):
    cluster = make_cluster("a", "b", "c")
    client = connect(cluster)
    futures = client.map(inc, range(30), pure=False)
    wait(futures)
    for name in ("a", "b"):
        client.retire_workers(names=[name], close_workers=True)
    eventually(lambda: set(cluster.addresses()) == {"c"})
    assert client.gather(futures) == list(range(1, 31))
    # nobody could take the data of the last one: it stays
    client.retire_workers(names=["c"])
    assert client.gather(futures) == list(range(1, 31))


def test_restart_workers_by_name(make_cluster, connect):
    cluster = make_cluster("a", "b", nanny=True)
    client = connect(cluster)
    before = cluster.addresses()
    result = client.restart_workers(["a"], timeout=30)
    assert result == {"a": "OK"}
    after = cluster.addresses()
    assert after["b"] == before["b"] and after["a"] != before["a"]
    with pytest.raises(ValueError, match="nanny"):
        cluster.start_workers("plain")
        client.restart_workers(["plain"])


def test_restart_while_busy_tells_all_clients(make_cluster, connect):
    cluster = make_cluster("a", nanny=True)
    client, other = connect(cluster), connect(cluster)
    f = client.submit(slowinc, 1, delay=60)
    g = other.submit(slowinc, 2, delay=60)
    eventually(lambda: len(*client.processing().values()) == 2)
    client.restart(timeout=30)
    for future in (f, g):
        with pytest.raises(FutureCancelledError):
            future.result(timeout=10)
    assert other.submit(inc, 1).result(timeout=10) == 2


def test_shutdown_ends_everything(make_cluster, connect):
    cluster = make_cluster("a")
    connect(cluster).shutdown()
    assert cluster.scheduler.wait(20) == 0
    assert cluster.workers["a"].wait(20) == 0


def test_idle_timeout(make_cluster):
    cluster = make_cluster(scheduler_options=["--idle-timeout", "1s"])
    assert cluster.scheduler.wait(20) == 0


def test_a_worker_leaves_on_a_signal(make_cluster, connect):
    cluster = make_cluster("a", "b")
    client = connect(cluster)
    futures = client.scatter([1, 2], workers=[cluster.addresses()["b"]])
    a = cluster.workers.pop("a")
    a.popen.send_signal(signal.SIGTERM)
    assert a.wait(20) == 0
    assert set(cluster.addresses()) == {"b"}
    assert client.gather(futures) == [1, 2]


def test_a_client_reconnects_to_nothing_and_says_so(make_cluster):
    cluster = make_cluster()
    cluster.close()
    with pytest.raises(OSError, match="Timed out|refused|connect|reset"):
        Client(cluster.address, timeout=1, set_as_default=False)
