"""Actors: objects that live on one worker and keep their state."""

import gc

import pytest
from distributed import Actor, wait
from harness import eventually
from tasks import inc


class Counter:
    n = 0

    def __init__(self, start=0):
        self.n = start

    def increment(self, by=1):
        self.n += by
        return self.n

    def fails(self):
        raise ValueError("no")

    async def later(self):
        return self.n


def test_an_actor_keeps_its_state(client):
    counter = client.submit(Counter, 5, actor=True).result()
    assert isinstance(counter, Actor) and "Counter" in repr(counter)
    futures = [counter.increment() for _ in range(10)]
    assert sorted(f.result() for f in futures) == list(range(6, 16))  # in any order
    assert counter.n == 15
    assert counter.later().result() == 15
    with pytest.raises(ValueError, match="no"):
        counter.fails().result()
    with pytest.raises(AttributeError):
        counter.nothing  # noqa: B018


def test_tasks_use_an_actor(client):
    counter = client.submit(Counter, actor=True, workers="alice").result()

    def add(c, i):
        return c.increment(i).result()

    wait(client.map(add, [counter] * 10, range(10), pure=False))
    assert counter.n == 45


def test_many_actors(client):
    counters = client.gather(client.map(Counter, range(6), actors=True))
    assert [c.n for c in counters] == list(range(6))
    assert len({c._address for c in counters}) == 3


def test_an_actor_dies_with_its_worker(make_cluster, connect):
    cluster = make_cluster("a", "b")
    client = connect(cluster)
    counter = client.submit(Counter, actor=True, workers="a", allow_other_workers=True).result()
    assert counter.increment().result() == 1
    cluster.kill_worker("a")
    with pytest.raises((RuntimeError, ValueError, OSError)):
        counter.increment().result()
    assert client.submit(inc, 1).result() == 2


def test_an_actor_goes_with_its_last_future(client):
    f = client.submit(Counter, actor=True, key="actor")
    counter = f.result()
    assert counter.increment().result() == 1

    def actors(dask_worker):
        return list(dask_worker.state.actors)

    assert ["actor"] in client.run(actors).values()
    del f, counter
    eventually(lambda: gc.collect() and not any(client.run(actors).values()))
