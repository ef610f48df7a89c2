"""Cask workers run tasks and exchange values with each other, with stock workers and with clients."""

from __future__ import annotations

import operator
import time
import traceback

import numpy
import pytest
from distributed import wait

import harness
from worker_clusters import client, mixed  # noqa: F401  (fixtures)

PAIRS = [("alice", "bob"), ("alice", "stan"), ("stan", "alice")]


def inc(x):
    return x + 1


def fail(text):
    raise ValueError(text)


def test_submit(client):
    assert client.submit(inc, 1, workers="alice").result() == 2


def stamp(_):
    return time.perf_counter()


def wait_at_gate(folder):
    (folder / "begun").touch()
    while not (folder / "go").exists():
        time.sleep(0.01)


def count_ready(dask_worker):
    return sum(task.state == "ready" for task in dask_worker.state.tasks.values())


def test_short_tasks_run_in_order(client, mixed, tmp_path):
    """An executor has some of them before it has a thread for them"""
    bob = mixed.addresses()["bob"]
    wait(client.map(stamp, range(20), workers="bob", pure=False))  # it is known that they are short
    gate = client.submit(wait_at_gate, tmp_path, workers="bob", pure=False)
    harness.eventually((tmp_path / "begun").exists)
    middle, late, early = (
        client.map(stamp, range(30), priority=priority, workers="bob", pure=False) for priority in (0, -1, 1)
    )
    harness.eventually(lambda: client.run(count_ready, workers=[bob])[bob] == 90)
    (tmp_path / "go").touch()
    wait([gate, *middle, *late, *early])
    stamps = client.gather([*early, *middle, *late])
    assert sorted(range(90), key=stamps.__getitem__) == list(range(90))


@pytest.mark.parametrize("giver, taker", PAIRS)
def test_value_of_another_worker(client, giver, taker):
    x = client.submit(inc, 1, workers=giver, pure=False)
    y = client.submit(inc, x, workers=taker, pure=False)
    assert y.result() == 3


@pytest.mark.parametrize("giver, taker", PAIRS)
def test_large_array_of_another_worker(client, giver, taker):
    x = client.submit(numpy.arange, 1_000_000, workers=giver, pure=False)
    y = client.submit(numpy.add, x, 1, workers=taker, pure=False)
    assert (y.result() == numpy.arange(1_000_000) + 1).all()


def test_many_tasks_with_dependencies(client):
    first = client.map(inc, range(200))
    second = client.map(inc, first)
    pairs = [client.submit(operator.add, second[i], second[-i]) for i in range(200)]
    total = client.submit(sum, pairs)
    assert total.result() == sum(i + 2 + (-i % 200) + 2 for i in range(200))
    assert client.gather(second) == [i + 2 for i in range(200)]


def test_error_has_its_traceback(client):
    future = client.submit(fail, "no such luck", workers="alice")
    assert isinstance(future.exception(), ValueError)
    with pytest.raises(ValueError, match="no such luck") as info:
        future.result()
    assert any(frame.name == "fail" for frame in traceback.extract_tb(info.tb))
    with pytest.raises(ValueError, match="no such luck"):
        client.recreate_error_locally(future)


def test_error_of_an_input(client):
    x = client.submit(fail, "first", workers="bob")
    y = client.submit(inc, x, workers="alice")
    with pytest.raises(ValueError, match="first"):
        y.result()


@pytest.mark.parametrize("direct", [False, True])
def test_scatter_and_gather(client, direct):
    data = {"whole": 7, "array": numpy.arange(100_000)}
    futures = client.scatter(data, workers=["alice", "bob"], direct=direct)
    total = client.submit(numpy.sum, futures["array"], workers="alice", pure=False)
    assert total.result() == data["array"].sum()
    back = client.gather(futures, direct=direct)
    assert back["whole"] == 7 and (back["array"] == data["array"]).all()


def test_broadcast(client):
    future = client.scatter(5, broadcast=True)
    harness.eventually(lambda: len(client.who_has(future)[future.key]) == 3)
    for name in ("alice", "bob", "stan"):
        assert client.submit(inc, future, workers=name, pure=False).result() == 6


def test_released_values_go(client, mixed):
    futures = client.map(inc, range(20), workers="alice", pure=False)
    wait(futures)
    address = mixed.addresses()["alice"]
    assert set(harness.ask(address, "keys")) >= {future.key for future in futures}
    for future in futures:
        future.release()
    harness.eventually(lambda: not harness.ask(address, "keys"), 20, "alice has let go of all")


def test_value_that_cannot_be_serialised(client):
    future = client.submit(lambda: (i for i in range(3)), workers="alice")
    wait(future)
    with pytest.raises(TypeError, match="generator"):
        future.result()
    assert client.submit(list, future, workers="alice").result() == [0, 1, 2]
