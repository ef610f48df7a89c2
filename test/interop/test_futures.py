"""The futures interface: submit, map, gather, as_completed, cancel, retry, tasks in tasks."""

import asyncio
import concurrent.futures
import operator
import threading
import time

import numpy as np
import pytest
from dask import delayed
from distributed import (
    Client,
    Reschedule,
    as_completed,
    fire_and_forget,
    get_client,
    rejoin,
    secede,
    wait,
    worker_client,
)
from distributed.client import FutureCancelledError
from harness import KIND, eventually
from tasks import Numbered, Plain, add, dec, div, double, inc, number_of, slowadd, slowinc


def test_submit(client):
    x = client.submit(inc, 10)
    assert not x.done() or x.status == "finished"
    assert x.result() == 11 and x.done() and x.type is int
    assert client.submit(inc, 10).key == x.key  # pure: the same work has the same key
    assert client.submit(inc, 10, pure=False).key != x.key
    assert client.submit(add, x, y=double(4)).result() == 19
    assert client.submit(operator.add, [x, {"a": x}], [1]).result() == [11, {"a": 11}, 1]
    assert client.submit(lambda *a, **k: (a, k), 1, x, b=x, key="own").result() == ((1, 11), {"b": 11})


def test_keys_of_all_kinds(client):
    for key in ("plain", ("tuple", 1, 2), ("nested", ("t", 1.5)), b"bytes".decode(), "ключ"):
        f = client.submit(inc, 1, key=key)
        assert f.result() == 2 and f.key == key
        assert key in client.who_has()
        del f
    eventually(lambda: not client.who_has())


@pytest.mark.parametrize(
    "value",
    [None, 0, -1, 2**70, 1.5, float("inf"), True, "text", b"\x00bytes", (), (1, (2,)), {1: {2}},
     {"a": [None]}, 1j, slice(1, 2), np.float64(3), ValueError("an object")],
    ids=repr,
)  # fmt: skip
def test_values_travel_unchanged(client, value):
    result = client.submit(lambda x: (x, type(x)), value, pure=False).result()
    assert repr(result) == repr((value, type(value)))


def test_arrays_travel_unchanged(client):
    for shape, dtype in [((0,), "f8"), ((1000, 1000), "f4"), ((3,), "U5"), ((2, 2), "O"), ((5,), "M8[ns]")]:
        array = np.zeros(shape, dtype)
        back = client.submit(lambda x: x, array, pure=False).result()
        assert back.dtype == array.dtype and back.shape == shape
    large = np.arange(3_000_000)
    assert (client.submit(np.negative, large).result() == -large).all()


def test_map(client):
    assert client.gather(client.map(inc, range(10))) == list(range(1, 11))
    assert client.gather(client.map(add, range(3), [10, 20, 30])) == [10, 21, 32]
    assert client.gather(client.map(add, range(3), y=5)) == [5, 6, 7]
    L = client.map(inc, range(4), key=["k-0", "k-1", "k-2", "k-3"])
    assert [f.key for f in L] == ["k-0", "k-1", "k-2", "k-3"]
    assert client.gather(client.map(lambda x, y: x + sum(y), L, y=[1, 2])) == [4, 5, 6, 7]
    assert client.gather(client.map(inc, range(10), batch_size=3)) == list(range(1, 11))
    assert client.map(inc, []) == []
    two = client.map(inc, [5, 5])
    assert two[0].key == two[1].key
    assert len({f.key for f in client.map(inc, [5, 5], pure=False)}) == 2


@pytest.mark.stock_broken("2026.8.0 gives the task that it makes of the keyword no priority")
def test_map_with_a_large_keyword(client):
    """Client.map makes a task of its own of it, whose key is the keyword's name: `a`"""

    def total(i, a):
        time.sleep(0.02)
        return a.sum() + i

    ones = client.map(total, range(3), a=np.ones(200_000))
    twos = client.map(total, range(3), a=np.full(200_000, 2.0))
    assert client.gather(ones) == [2e5, 2e5 + 1, 2e5 + 2]
    assert client.gather(twos) == [4e5, 4e5 + 1, 4e5 + 2]


def test_gather_of_nested_containers(client):
    x, y = client.map(inc, [1, 2])
    assert client.gather({"x": x, "y": [y, 5, (x,)]}) == {"x": 2, "y": [3, 5, (2,)]}
    assert set(client.gather({x, y})) == {2, 3}
    assert list(client.gather(iter([x, y]))) == [2, 3]
    assert client.gather([x, y], direct=True) == [2, 3]


def test_get_takes_a_plain_graph(client):
    graph = {"x": (inc, 1), "y": (add, "x", 10), ("z", 0): (sum, ["x", "y"]), "lit": 5, "alias": "y"}
    assert client.get(graph, ["y", ("z", 0), "lit", "alias"]) == [12, 14, 5, 12]
    assert client.get(graph, "x") == 2
    futures = client.get(graph, ["x", "y"], sync=False)
    assert client.gather(futures) == [2, 12]


def test_wait(client):
    slow, fast = client.submit(slowinc, 1, delay=1), client.submit(inc, 5)
    done, not_done = wait([slow, fast], return_when="FIRST_COMPLETED")
    assert (done, not_done) == ({fast}, {slow})
    with pytest.raises(TimeoutError):
        wait(slow, timeout=0.01)
    with pytest.raises(TimeoutError):
        slow.result(timeout=0.01)
    assert wait([slow, fast]).not_done == set()


def test_as_completed(client):
    futures = client.map(slowinc, [3, 2, 1], delay=0.02)
    assert set(as_completed(futures)) == set(futures)
    pairs = dict((f.key, r) for f, r in as_completed(futures, with_results=True))
    assert sorted(pairs.values()) == [2, 3, 4]
    assert sum(len(b) for b in as_completed(futures, with_results=True).batches()) == 3

    bad = client.submit(div, 1, 0)
    assert [f.status for f in as_completed([bad])] == ["error"]
    with pytest.raises(ZeroDivisionError):
        list(as_completed([bad], with_results=True))
    assert list(as_completed([bad], with_results=True, raise_errors=False))[0][1][0] is ZeroDivisionError

    iterator = as_completed(client.map(inc, range(3)))
    seen = 0
    for f in iterator:
        seen += 1
        if f.result() < 10:
            iterator.add(client.submit(inc, f.result() + 5))
    assert seen > 6

    cancelled = client.submit(slowinc, 1, delay=2)
    iterator = as_completed([cancelled])
    client.cancel(cancelled)
    assert next(iterator).cancelled()


def test_done_callbacks(client):
    called = threading.Event()
    f = client.submit(slowinc, 1, delay=0.01)
    f.add_done_callback(lambda future: future.status == "finished" and called.set())
    assert called.wait(5)
    bad, event = client.submit(div, 1, 0), threading.Event()
    bad.add_done_callback(lambda future: future.status == "error" and event.set())
    assert event.wait(5)


def test_errors_of_dependencies(client):
    x = client.submit(div, 1, 0)
    y = client.submit(inc, x)
    z = client.submit(add, y, client.submit(inc, 1))
    with pytest.raises(ZeroDivisionError):
        z.result()
    assert y.status == z.status == "error"
    later = client.submit(inc, x)  # sent when its input has failed already
    with pytest.raises(ZeroDivisionError):
        later.result()


def test_strange_exceptions(client):
    class Odd(Exception):
        def __init__(self, lock):
            self.lock = lock

        def __str__(self):
            return "odd"

    def fails():
        raise Odd(threading.Lock())  # cannot be pickled

    with pytest.raises(Exception, match="odd|Odd"):
        client.submit(fails).result()

    def long_text():
        raise ValueError("x" * 1_000_000)

    with pytest.raises(ValueError, match="x{1000}"):
        client.submit(long_text).result()
    assert client.submit(inc, 1).result() == 2


def test_results_and_arguments_that_cannot_be_pickled(client):
    with pytest.raises(TypeError, match="pickle"):
        client.submit(threading.Lock).result()
    with pytest.raises(TypeError, match="[Cc]ould not serialize"):
        client.submit(type, threading.Lock())



def test_tasks_that_cannot_be_loaded_fail_alone(make_cluster, connect, tmp_path):
    """The commonest mistake: a module that only the client has.  It must cost no worker"""
    cluster = make_cluster("a", "b")
    client = connect(cluster)
    (tmp_path / "only_the_client_has_this.py").write_text("def f(x):\n    return x\n")

    class Bomb:
        def __reduce__(self):
            return div, (1, 0)

    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(tmp_path)
        from only_the_client_has_this import f

        for doomed in (
            client.submit(f, 1),
            client.submit(inc, f),
            *client.map(f, [1, 2]),
            client.compute(delayed(f)(1)),
        ):
            with pytest.raises(Exception) as caught:
                doomed.result(timeout=20)
            chain = repr(caught.value) + repr(caught.value.__cause__)
            assert "only_the_client_has_this" in chain or "eserialization" in chain
    with pytest.raises((ZeroDivisionError, RuntimeError)):
        client.submit(type, Bomb()).result(timeout=20)
    assert all(worker.alive for worker in cluster.workers.values())
    assert client.submit(inc, 1).result(timeout=10) == 2


def test_an_object_that_cannot_be_loaded_fails_alone(make_cluster, connect):
    """Others of its class could, alone and with buffers; this one must cost no worker"""
    cluster = make_cluster("a", "b")
    client = connect(cluster)
    assert client.gather(client.map(number_of, [Numbered(n) for n in range(10)])) == list(range(10))
    assert client.submit(number_of, Numbered(1), np.ones(1000)).result() == 1
    for doomed in (
        client.submit(number_of, Numbered(13)),
        client.submit(number_of, Numbered(13), np.ones(1000)),
        *client.map(number_of, [Numbered(12), Numbered(13)]),
        client.compute(delayed(number_of)(Numbered(13))),
    ):
        with pytest.raises((ValueError, RuntimeError)):
            doomed.result(timeout=20)
    assert all(worker.alive for worker in cluster.workers.values())
    assert client.submit(number_of, Numbered(14)).result(timeout=10) == 14


@pytest.mark.skipif(KIND == "stock", reason="stock loads each graph itself")
def test_objects_of_plain_classes_are_tried_once(make_cluster, connect):
    """A graph is tried on a worker only while it has something that was never proven to load"""
    cluster = make_cluster("a")
    client = connect(cluster)

    def trials():
        return cluster.workers["a"].log().count("Run out-of-band function")

    for make, expected in ((Plain, 1), (Numbered, 5)):
        before = trials()
        for n in range(5):
            assert client.submit(number_of, make(n)).result() == n
        assert trials() - before == expected


def test_retries(client, tmp_path):
    def flaky(path, fails):
        with open(path, "a+") as file:
            file.write("x")
            file.seek(0)
            if len(file.read()) <= fails:
                raise OSError("not yet")
        return "done"

    assert client.submit(flaky, tmp_path / "a", 2, retries=2).result() == "done"
    with pytest.raises(OSError, match="not yet"):
        client.submit(flaky, tmp_path / "b", 3, retries=2).result()


def test_retry(client, tmp_path):
    def needs(path):
        return open(path).read()

    x = client.submit(needs, tmp_path / "file")
    y = client.submit(str.upper, x)
    wait(y)
    assert (x.status, y.status) == ("error", "error")
    (tmp_path / "file").write_text("there")
    y.retry()
    assert y.result() == "THERE" and x.result() == "there"


def test_reschedule(client, tmp_path):
    def picky(path):
        if not path.exists():
            path.touch()
            raise Reschedule
        return 1

    assert client.submit(picky, tmp_path / "tried").result() == 1


def test_cancel(client):
    f = client.submit(slowinc, 1, delay=1, key="slow")
    g = client.submit(inc, f)
    f.cancel()
    assert f.cancelled()
    for future in (f, g):
        with pytest.raises(FutureCancelledError):
            future.result(timeout=5)
    again = client.submit(slowinc, 1, delay=0.01, key="slow")
    assert again.result() == 2


def test_cancel_of_what_another_wants(cluster, client, connect):
    other = connect(cluster)
    f = client.submit(slowinc, 1, delay=0.3, key="both")
    g = other.submit(slowinc, 1, delay=0.3, key="both")
    eventually(lambda: len(client.run_on_scheduler(wanted, "both")) == 2)
    client.cancel(f)
    assert g.result(timeout=5) == 2
    h = client.submit(slowinc, 5, delay=1, key="forced")
    i = other.submit(slowinc, 5, delay=1, key="forced")
    eventually(lambda: len(client.run_on_scheduler(wanted, "forced")) == 2)
    client.cancel(h, force=True)
    with pytest.raises(FutureCancelledError):
        i.result(timeout=5)


def wanted(key, dask_scheduler):
    ts = dask_scheduler.tasks.get(key)
    return [] if ts is None else [c.client_key for c in ts.who_wants]


def test_release_forgets(client):
    x = client.submit(inc, 1, key="x")
    y = client.submit(inc, x, key="y")
    wait(y)
    del x
    eventually(lambda: set(client.who_has()) >= {"y"} and not client.who_has().get("x"))
    assert y.result() == 3
    del y
    eventually(lambda: client.who_has() == {})


def test_a_client_that_leaves_takes_its_futures(cluster, connect):
    with Client(cluster.address) as going:
        f = going.submit(inc, 1)
        wait(f)
        assert cluster.ask("who_has")
    eventually(cluster.empty)


def test_fire_and_forget(client, tmp_path):
    def touch(path, after):
        time.sleep(after)
        path.touch()

    fire_and_forget(client.submit(touch, tmp_path / "kept", 0.2))
    f = client.submit(touch, tmp_path / "dropped", 0.0, workers="no-such-worker", key="dropped")
    del f
    eventually((tmp_path / "kept").exists)
    eventually(lambda: client.who_has() == {})
    assert not (tmp_path / "dropped").exists()


def test_priorities(client):
    """All on one thread: after the first, the urgent come before those that were sent earlier"""
    client.submit(stamp, 0).result()  # the workers import this module
    blocker = client.submit(slowinc, 0, delay=1, workers="alice", pure=False)
    low = client.map(stamp, range(5), priority=-10, workers="alice", pure=False)
    middle = client.map(stamp, range(5), workers="alice", pure=False)
    high = client.map(stamp, range(5), priority=10, workers="alice", pure=False)
    wait([blocker, *low, *middle, *high])
    low, middle, high = map(client.gather, (low, middle, high))
    assert max(high) < min(middle) and max(middle) < min(low)


def stamp(_):
    return time.perf_counter()


def test_tasks_that_submit_tasks(client):
    def fib(n):
        if n < 2:
            return n
        with worker_client() as c:
            a, b = c.submit(fib, n - 1), c.submit(fib, n - 2)
            return sum(c.gather([a, b]))

    assert client.submit(fib, 6).result() == 8

    def parent(n):
        c = get_client()
        futures = c.map(inc, range(n))
        secede()
        total = sum(c.gather(futures))
        rejoin()
        return total

    assert client.submit(parent, 10).result() == 55


def test_secede_makes_room(client):
    """A seceded task holds no thread: another runs while it waits for it"""

    def waits():
        c = get_client()
        f = c.submit(inc, 41, workers="alice", pure=False)
        secede()
        return f.result()

    assert client.submit(waits, workers="alice").result(timeout=10) == 42


def test_concurrent_futures_executor(client):
    executor = client.get_executor(pure=False)
    futures = [executor.submit(slowinc, i, delay=0.01) for i in range(10)]
    assert isinstance(futures[0], concurrent.futures.Future)
    done, _ = concurrent.futures.wait(futures, timeout=10)
    assert sorted(f.result() for f in done) == list(range(1, 11))
    assert list(executor.map(inc, range(5))) == [1, 2, 3, 4, 5]
    with pytest.raises(ZeroDivisionError):
        executor.submit(div, 1, 0).result()
    executor.shutdown()


def test_asynchronous_client(cluster):
    async def work():
        async with Client(cluster.address, asynchronous=True) as c:
            futures = c.map(inc, range(10))
            assert await c.gather(futures) == list(range(1, 11))
            assert await c.submit(sum, futures) == 55
            async for future in as_completed(futures):
                assert future.done()
            with pytest.raises(ZeroDivisionError):
                await c.submit(div, 1, 0)
            results = await asyncio.gather(*c.map(inc, range(5)))
            assert results == [1, 2, 3, 4, 5]

    asyncio.run(work())


def test_many_clients_at_once(cluster, connect):
    clients = [connect(cluster) for _ in range(8)]
    futures = [c.map(inc, range(20)) for c in clients]
    totals = [c.submit(sum, f) for c, f in zip(clients, futures, strict=True)]
    assert [f.result() for f in totals] == [210] * 8


def test_a_long_chain_and_a_wide_fan(client):
    x = client.submit(inc, 0)
    for _ in range(300):
        x = client.submit(inc, x)
    assert x.result() == 301
    wide = client.submit(sum, client.map(dec, range(2000)))
    assert wide.result() == sum(range(-1, 1999))


def test_tree_reduction(client):
    level = client.map(inc, range(128))
    while len(level) > 1:
        level = client.map(add, level[::2], level[1::2])
    assert level[0].result() == sum(range(1, 129))


def test_transfer_between_workers(client):
    x = client.submit(np.ones, 300_000, workers="alice")
    y = client.submit(np.ones, 300_000, workers="bob")
    z = client.submit(slowadd, x, y, workers="carol")
    assert z.result().sum() == 600_000
    assert len(client.who_has(x)[x.key]) == 2  # carol has a copy now
