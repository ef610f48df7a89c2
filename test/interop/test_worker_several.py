"""Workers with several executors: one worker to everybody, several processes to user code. docs/executor.md."""

from __future__ import annotations

import os
import time

import dask
import dask.array as da
import dask.dataframe as dd
import numpy
import pandas
import pytest
from distributed import Client

import harness
from worker_clusters import SCHEDULERS, start_cask

PARTS = 8


@pytest.fixture(scope="module", params=SCHEDULERS)
def cluster(request):
    """`alice` and `bob`, who have two executors of one thread each"""
    cluster = harness.Cluster(command=SCHEDULERS[request.param])
    start_cask(cluster, "alice", "bob", nthreads=2, options=["--executors", "2"])
    yield cluster
    cluster.close()


@pytest.fixture
def client(cluster):
    with Client(cluster.address, timeout=20) as client:
        yield client


def here(path):
    """Leaves the process's number in a directory"""
    with open(os.path.join(path, str(os.getpid())), "w"):
        pass


def make_part(number, path=None):
    """The first four wait for one another, so that each is made, and sent from, where no other is; not for ever, as nobody
    promises them a thread each"""
    if path is not None:
        here(path)
        for _ in range(500 if number < 4 else 0):
            if len(os.listdir(path)) == 4:
                break
            time.sleep(0.01)
    rng = numpy.random.default_rng(number)
    return pandas.DataFrame({"id": rng.integers(0, 40, 500), "x": rng.integers(0, 1000, 500)})


def make_frame(path):
    return dd.from_map(make_part, range(PARTS), path=str(path), meta=make_part(0).iloc[:0])


def all_parts():
    return pandas.concat(map(make_part, range(PARTS)))


def rows(frame):
    return sorted(map(tuple, frame.to_numpy().tolist()))


@pytest.fixture
def p2p():
    with dask.config.set({"dataframe.shuffle.method": "p2p", "array.rechunk.method": "p2p"}):
        yield


@pytest.mark.usefixtures("p2p")
def test_shuffle(client, tmp_path):
    """All four executors send; no row is missing or there twice, and equal ids are together"""
    parts = client.gather(client.compute(make_frame(tmp_path).shuffle("id").to_delayed()), errors="raise")
    assert len(os.listdir(tmp_path)) == 4
    assert rows(pandas.concat(parts)) == rows(all_parts())
    ids = [set(part["id"]) for part in parts]
    assert sum(map(len, ids)) == len(set.union(*ids))


@pytest.mark.usefixtures("p2p")
def test_merge(client, tmp_path):
    """Two shuffles at a time, taken together"""
    other = pandas.DataFrame({"id": range(40), "name": [f"n{i}" for i in range(40)]})
    merged = make_frame(tmp_path).merge(dd.from_pandas(other, npartitions=4), on="id")
    found = client.compute(merged).result(timeout=120)
    assert rows(found) == rows(all_parts().merge(other, on="id"))


@pytest.mark.usefixtures("p2p")
def test_rechunk(client):
    x = da.arange(40_000, chunks=2_500).reshape(200, 200)
    found = client.compute(x.rechunk((200, 10)).sum(axis=0)).result(timeout=120)
    assert (found == numpy.arange(40_000).reshape(200, 200).sum(axis=0)).all()


def note(path, number):
    here(path)
    while len(os.listdir(path)) < 4:
        time.sleep(0.01)
    return os.environ.get("SEVERAL")


def set_variable():
    os.environ["SEVERAL"] = "seen"


def test_run(client, tmp_path):
    """In each executor, before it is answered: by the first"""
    pids = client.run(os.getpid)
    client.run(set_variable)
    found = client.gather(client.map(lambda i: note(str(tmp_path), i), range(4), pure=False))
    assert found == ["seen"] * 4
    assert set(pids.values()) < set(map(int, os.listdir(tmp_path)))


def fail_in_one(path):
    try:
        os.mkdir(path)
    except FileExistsError:
        raise ValueError("one is there already") from None


def test_run_fails(client, tmp_path):
    """In one of an executor's two, which is enough"""
    (alice, *_) = client.scheduler_info()["workers"]
    with pytest.raises(ValueError, match="there already"):
        client.run(fail_in_one, str(tmp_path / "made"), workers=[alice])


def test_run_coroutine(client):
    async def where():
        return os.getpid()

    assert client.run(where) == client.run(os.getpid)
