"""Coordination: locks, multi-locks, semaphores, events, queues, variables, published data."""

import gc
import time

import pytest
from distributed import (
    Client,
    Event,
    Lock,
    MultiLock,
    Queue,
    Semaphore,
    Variable,
    get_client,
    wait,
)
from harness import eventually
from tasks import inc, slowinc


def unsafe_add(path, lock):
    """Read, pause, write: loses counts unless `lock` keeps others out"""
    with lock:
        value = int(path.read_text())
        time.sleep(0.005)
        path.write_text(str(value + 1))


@pytest.mark.parametrize("kind", ["Lock", "MultiLock", "Semaphore"])
def test_locks_exclude(client, tmp_path, kind):
    make = {
        "Lock": lambda: Lock("L"),
        "MultiLock": lambda: MultiLock(["a", "b"]),
        "Semaphore": lambda: Semaphore(name="S"),
    }[kind]
    path = tmp_path / "count"
    path.write_text("0")
    futures = [client.submit(lambda p: unsafe_add(p, make()), path, pure=False) for _ in range(30)]
    client.gather(futures)
    assert path.read_text() == "30"


def test_lock(client):
    lock, same = Lock("x"), Lock("x")
    assert lock.acquire()
    assert lock.locked() and same.locked()
    assert same.acquire(timeout=0.05) is False
    assert same.acquire(blocking=False) is False
    lock.release()
    assert same.acquire(timeout=1)
    same.release()
    assert not lock.locked()


def test_multi_lock(client):
    ab, bc, c = MultiLock(["a", "b"]), MultiLock(["b", "c"]), MultiLock(["c"])
    assert ab.acquire()
    assert bc.acquire(timeout=0.05) is False
    assert c.acquire(timeout=1)
    c.release()
    ab.release()
    assert bc.acquire(timeout=1)
    bc.release()
    any_one = MultiLock(["a", "b", "c"])
    assert any_one.acquire(num_locks=1)
    any_one.release()


def test_semaphore(client):
    sem = Semaphore(max_leases=2, name="s")
    assert sem.acquire() and sem.acquire()
    assert sem.acquire(timeout=0.05) is False
    assert sem.get_value() == 2
    sem.release()
    assert sem.acquire(timeout=1)
    sem.release()
    sem.release()
    eventually(lambda: sem.get_value() == 0)

    def most(s, i):
        with s:
            import tasks

            tasks.inside = vars(tasks).get("inside", 0) + 1
            time.sleep(0.02)
            tasks.inside -= 1
            return s.get_value()

    assert max(client.gather(client.map(most, [sem] * 12, range(12)))) <= 2
    sem.close()
    with pytest.raises(RuntimeError, match="[Ss]emaphore"):
        sem.acquire()


def test_a_lease_ends_with_its_holder(make_cluster, connect):
    """A worker dies holding a lease: when it has not been renewed for a while, it is free"""
    env = {
        "DASK_DISTRIBUTED__SCHEDULER__LOCKS__LEASE_TIMEOUT": "1s",
        "DASK_DISTRIBUTED__SCHEDULER__LOCKS__LEASE_VALIDATION_INTERVAL": "200ms",
    }
    cluster = make_cluster("a", "b", env=env)
    client = connect(cluster)
    sem = Semaphore(max_leases=1, name="lease")

    def hold(s):
        s.acquire()
        time.sleep(60)

    holder = client.submit(hold, sem, workers="a")
    eventually(lambda: sem.get_value() == 1)
    cluster.kill_worker("a")
    holder.cancel()
    assert sem.acquire(timeout=20)
    sem.release()


def test_event(client):
    event = Event("go")
    assert not event.is_set()
    assert event.wait(timeout=0.05) is False

    waiting = client.map(lambda i: Event("go").wait(), range(3))
    time_of_set = time.time()
    event.set()
    assert client.gather(waiting) == [True] * 3
    assert event.is_set() and event.wait() and time.time() - time_of_set < 5
    event.clear()
    assert not event.is_set()


def test_queue(client):
    q = Queue("q")
    assert q.qsize() == 0
    with pytest.raises(TimeoutError):
        q.get(timeout=0.05)
    q.put(1)
    q.put({"msgpack": ("values", None, 1.5)})
    q.put(client.submit(inc, 41))
    assert q.qsize() == 3
    assert q.get() == 1
    assert q.get() == {"msgpack": ("values", None, 1.5)}
    assert q.get().result() == 42
    for i in range(4):
        q.put(i)
    assert q.get(batch=2) == [0, 1]
    assert q.get(batch=True) == [2, 3]


def test_bounded_queue_between_tasks(client):
    q = Queue("bounded", maxsize=1)
    q.put(0)
    with pytest.raises(TimeoutError):
        q.put(1, timeout=0.05)

    def produce(n):
        queue = Queue("bounded")
        for i in range(1, n):
            queue.put(i)

    def consume(n):
        queue = Queue("bounded")
        return [queue.get() for _ in range(n)]

    producer = client.submit(produce, 10)
    consumer = client.submit(consume, 10)
    assert consumer.result() == list(range(10)) and producer.result() is None


def test_variable(client, connect, cluster):
    v = Variable("v")
    with pytest.raises(TimeoutError):
        v.get(timeout=0.05)
    v.set(123)
    assert v.get() == 123
    assert client.submit(lambda: Variable("v").get(), pure=False).result() == 123

    f = client.submit(inc, 10)
    v.set(f)
    key = f.key
    del f  # the variable keeps it
    other = connect(cluster)
    assert Variable("v", client=other).get().result() == 11
    assert key in client.who_has()
    v.set("something else")
    v.delete()
    eventually(lambda: client.who_has() == {})


def test_stop_flag(client):
    """A long task looks at a variable and ends when told to"""
    flag = Variable("stop")
    flag.set(False)

    def loop():
        variable, n = Variable("stop"), 0
        while not variable.get():
            n += 1
            Event("looping").set()
        return n

    f = client.submit(loop, pure=False)
    assert Event("looping").wait(timeout=10)
    flag.set(True)
    assert f.result(timeout=10) >= 1
    flag.delete()


def test_published_datasets(cluster, client):
    import dask.array as da

    data = client.map(inc, range(3))
    client.publish_dataset(numbers=data)
    x = da.arange(10, chunks=5).persist()
    client.publish_dataset(x, name="x")
    with pytest.raises(KeyError):
        client.publish_dataset(numbers=data)
    assert set(client.list_datasets()) == {"numbers", "x"}
    del data, x

    with Client(cluster.address, set_as_default=False) as other:
        assert other.gather(other.get_dataset("numbers")) == [1, 2, 3]
        assert other.compute(other.get_dataset("x").sum()).result() == 45
        assert other.datasets["numbers"] is not None
        with pytest.raises(KeyError):
            other.get_dataset("nothing")
        assert other.get_dataset("nothing", default=None) is None

    def in_a_task():
        return sum(f.result() for f in get_client().get_dataset("numbers"))

    assert client.submit(in_a_task, pure=False).result(timeout=10) == 6
    client.publish_dataset(numbers=[1], override=True)
    assert client.get_dataset("numbers") == [1]
    client.unpublish_dataset("numbers")
    client.unpublish_dataset("x")
    assert not client.list_datasets()
    eventually(lambda: client.run(gc.collect) and client.who_has() == {})


def test_published_data_outlives_its_client(cluster, client):
    with Client(cluster.address, set_as_default=False) as going:
        f = going.submit(slowinc, 1, delay=0.05)
        going.publish_dataset(kept=f)
    f = client.get_dataset("kept")
    wait(f)
    assert f.result() == 2
    client.unpublish_dataset("kept")
