"""The text "Keeping results growing on the server farm" (002): losses, retirement, stealing."""

import os
import signal

import pytest
from distributed import Client, KilledWorker, wait
from distributed.client import FutureCancelledError
from harness import Scheduler, Worker, eventually
from tasks import die, inc, my_name, slowinc


@pytest.mark.seed("S112")
def test_a_nanny_restarts_its_worker(make_cluster, connect):
    cluster = make_cluster("w", nanny=True)
    client = connect(cluster)
    (old,) = cluster.addresses().values()
    (pid,) = client.run(os.getpid).values()
    os.kill(pid, signal.SIGKILL)
    new = eventually(lambda: set(cluster.addresses().values()) - {old}, 30)
    assert set(cluster.addresses()) == {"w"} and len(new) == 1
    assert client.submit(inc, 1).result() == 2


@pytest.mark.seed("S23", "S113", "S121")
def test_work_of_a_lost_node_is_done_elsewhere(make_cluster, connect):
    cluster = make_cluster("a", "b", nanny=True)
    client = connect(cluster)
    futures = client.map(slowinc, range(60), delay=0.03)
    total = client.submit(sum, futures)
    eventually(lambda: sum(f.status == "finished" for f in futures) >= 20)
    cluster.workers["a"].kill()  # with its nanny
    assert total.result(timeout=30) == sum(range(1, 61))
    assert set(cluster.addresses()) == {"b"}
    assert futures[0].result() == 1  # was lost or not, it is there


@pytest.mark.seed("S115")
def test_an_impure_result_may_differ_after_a_loss(make_cluster, connect):
    cluster = make_cluster("a", "b")
    client = connect(cluster)
    f = client.submit(os.urandom, 8, workers="a", allow_other_workers=True)
    first = f.result()
    cluster.kill_worker("a")
    assert f.result() != first


@pytest.mark.seed("S117", "S118")
def test_a_function_that_kills_workers_is_marked_bad(make_cluster, connect):
    cluster = make_cluster("a", "b", nanny=True)
    client = connect(cluster)
    bad = client.submit(die, key="bad")
    with pytest.raises(KilledWorker) as caught:
        bad.result(timeout=60)
    error = caught.value
    assert error.task == "bad"
    assert error.allowed_failures == 3
    assert error.last_worker.address.startswith("tcp://127.0.0.1:")
    assert "'bad' on 4 different workers" in str(error)
    eventually(lambda: len(cluster.addresses()) == 2, 30)
    assert client.submit(inc, 1).result() == 2


@pytest.mark.seed("S119")
def test_scattered_data_is_lost_with_its_holder(make_cluster, connect):
    cluster = make_cluster("a", "b")
    client = connect(cluster)
    f = client.scatter({"x": 1}, workers=[cluster.addresses()["a"]])["x"]
    dependent = client.submit(inc, f)
    assert dependent.result() == 2
    cluster.kill_worker("a")
    eventually(lambda: f.status in ("lost", "cancelled"))
    with pytest.raises(FutureCancelledError):
        f.result(timeout=10)


@pytest.mark.seed("S120")
def test_replicate_hardens_scattered_data(make_cluster, connect):
    cluster = make_cluster("a", "b")
    client = connect(cluster)
    f = client.scatter(41, workers=[cluster.addresses()["a"]])
    client.replicate([f], n=2)
    assert len(client.who_has(f)[f.key]) == 2
    cluster.kill_worker("a")
    assert client.submit(inc, f).result() == 42


@pytest.mark.seed("S122")
def test_restart_brings_clean_workers(make_cluster, connect):
    cluster = make_cluster("a", "b", nanny=True)
    client = connect(cluster)
    f = client.submit(inc, 1)
    scattered = client.scatter(1)
    wait(f)
    before = set(cluster.addresses().values())
    client.restart()
    after = set(cluster.addresses().values())
    assert len(after) == 2 and not after & before
    assert not any(client.has_what().values())
    assert f.status == scattered.status == "cancelled"
    assert client.submit(inc, 1).result() == 2


@pytest.mark.seed("S123")
def test_retired_workers_hand_their_data_over(make_cluster, connect):
    cluster = make_cluster("a", "b")
    client = connect(cluster)
    a = cluster.addresses()["a"]
    futures = client.scatter(list(range(10)), workers=[a])
    retired = client.retire_workers([a], close_workers=True)
    assert set(retired) == {a}
    assert client.gather(futures) == list(range(10))
    assert set(client.scheduler_info()["workers"]) == {cluster.addresses()["b"]}
    assert cluster.workers.pop("a").wait() == 0


@pytest.mark.seed("S124", "S125")
def test_lifetime(make_cluster, connect):
    cluster = make_cluster("stays")
    cluster.start_workers("goes", options=["--lifetime", "2s", "--lifetime-stagger", "100ms"])
    client = connect(cluster)
    futures = client.scatter(list(range(4)), workers=[cluster.addresses()["goes"]])
    assert cluster.workers.pop("goes").wait(20) == 0
    assert client.gather(futures) == list(range(4))
    assert set(cluster.addresses()) == {"stays"}


@pytest.mark.seed("S126")
def test_lifetime_restart(make_cluster, connect):
    cluster = make_cluster()
    options = ["--lifetime", "2s", "--lifetime-restart"]
    cluster.start_workers("phoenix", nanny=True, options=options)
    (old,) = cluster.addresses().values()
    eventually(lambda: old not in cluster.addresses().values() and cluster.addresses(), 30)
    assert set(cluster.addresses()) == {"phoenix"}


@pytest.mark.seed("S127", "S128", "S130")
def test_loss_of_the_scheduler(make_cluster, connect):
    cluster = make_cluster("w")
    client = connect(cluster)
    f = client.submit(slowinc, 1, delay=3)
    eventually(lambda: any(client.processing().values()))
    cluster.scheduler.kill()
    with pytest.raises(FutureCancelledError):
        f.result(timeout=20)
    cluster.workers["w"].wait(30)  # stock workers end with their scheduler

    again = Scheduler(ports=[cluster.scheduler.port])
    worker = Worker(again.address, "new")
    try:
        with Client(again.address) as fresh:
            assert fresh.submit(inc, 1).result() == 2
    finally:
        worker.close()
        again.close()


@pytest.mark.seed("S130")
@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_scheduler_and_its_workers_cleanly(make_cluster, signum):
    cluster = make_cluster("w")
    cluster.scheduler.popen.send_signal(signum)
    assert cluster.scheduler.wait(20) == 0
    assert cluster.workers["w"].wait(20) == 0


@pytest.mark.seed("S29", "S131", "S132", "S133")
def test_idle_workers_steal(client, a):
    f = client.submit(slowinc, 0, delay=0.1, workers="alice")  # how long such a task takes
    wait(f)
    futures = client.map(
        slowinc, range(30), delay=0.1, workers="alice", allow_other_workers=True, pure=False
    )
    wait(futures)
    holders = [holder for holders in client.who_has(futures).values() for holder in holders]
    assert len(set(holders)) == 3 and holders.count(a) < 25
    assert client.get_events("stealing")


@pytest.mark.seed("S134")
def test_strictly_placed_tasks_are_not_stolen(client):
    futures = client.map(slow_name, range(15), workers="alice", pure=False)
    assert set(client.gather(futures)) == {"alice"}


def slow_name(x):
    slowinc(x, 0.05)
    return my_name()
