"""The text "Keeping results growing on the server farm" (002): getting data in and out."""

import os
import subprocess
import sys
import threading

import dask.dataframe as dd
import numpy as np
import pandas as pd
import pytest
from dask import delayed
from distributed import futures_of, get_worker, wait
from harness import eventually
from tasks import my_name


@pytest.mark.seed("S69", "S103")
def test_small_data_as_parameters(client):
    def sum_of_squares(a_list):
        return sum(a * a for a in a_list)

    r1 = client.submit(sum_of_squares, [1, 2, 3])
    assert r1.result() == 14


@pytest.mark.seed("S70")
def test_small_data_by_closure(client):
    outer_scope_list = [1, 2, 3]

    def sum_of_squares():
        return sum(a * a for a in outer_scope_list)

    r2 = client.submit(sum_of_squares)
    assert r2.result() == 14


@pytest.mark.seed("S71")
def test_large_data_as_parameters_works_and_warns(client):
    with pytest.warns(UserWarning, match="Sending large graph of size"):
        f = client.submit(len, b"x" * 12_000_000)
    assert f.result() == 12_000_000


@pytest.fixture
def rides(tmp_path):
    """200,000 bytes of CSV; fares over 400 are rare"""
    rng = np.random.default_rng(1)
    fares = rng.uniform(0, 410, 12_000).round(2)
    pd.DataFrame({"id": range(12_000), "total_amount": fares}).to_csv(tmp_path / "rides.csv", index=False)
    return tmp_path / "rides.csv"


@pytest.mark.seed("S72", "S73", "S74")
def test_parallel_read_from_a_shared_source(client, rides):
    client.get_task_stream()
    df = dd.read_csv(rides, blocksize="20kB")
    assert abs(df.npartitions - rides.stat().st_size / 20_000) <= 1.5
    lengths = df.partitions[:2].map_partitions(len).compute()
    assert len(lengths) == 2 and all(1000 < n < 2500 for n in lengths)
    assert len(df) == 12_000
    assert len({row["worker"] for row in client.get_task_stream(start="60s")}) >= 2


@pytest.mark.seed("S75", "S76", "S85")
def test_persist_caches_a_dataset(client, rides):
    df = dd.read_csv(rides, blocksize="50kB").persist()
    wait(df)
    assert {f.status for f in futures_of(df)} == {"finished"}
    held = {key for keys in client.has_what().values() for key in keys}
    assert {f.key for f in futures_of(df)} <= held
    rides.unlink()  # what comes now comes from memory
    assert len(df) == 12_000
    assert df.total_amount.max().compute() < 410


@pytest.mark.seed("S78", "S79", "S80", "S81", "S84")
def test_scatter_places_objects(client):
    medium_array = np.random.uniform(0, 1, (100, 100, 100))
    assert sys.getsizeof(medium_array) > 8_000_000

    f = client.scatter(medium_array)
    assert f.status == "finished"
    has_what = client.has_what()
    assert len(has_what) == 3
    assert sum(f.key in keys for keys in has_what.values()) == 1
    assert f.key.startswith("ndarray-")

    part1 = medium_array[:50]
    part2 = medium_array[50:]
    f2 = client.scatter([part1, part2])
    holders = [w for part in f2 for w, keys in client.has_what().items() if part.key in keys]
    assert len(holders) == len(set(holders)) == 2  # one each, in turn

    assert client.submit(np.sum, f2[0]).result() == pytest.approx(part1.sum())

    six = client.scatter([np.arange(i) for i in range(10, 16)])
    keys = {f.key for f in six}
    assert [len(keys & set(held)) for held in client.has_what().values()] == [2, 2, 2]


@pytest.mark.seed("S82", "S83")
def test_destinations_can_be_chosen(client, b):
    f = client.scatter([1, 2, 3], workers=[b])
    assert set(client.who_has(f).values()) == {(b,)}
    assert client.submit(my_name, workers=["carol"], pure=False).result() == "carol"


@pytest.mark.seed("S67")
def test_tasks_go_where_their_data_is(client, b):
    big = client.scatter(np.ones(500_000), workers=[b])
    assert client.submit(my_name, big, pure=False).result() == "bob"


@pytest.mark.seed("S98", "S99", "S100")
def test_worker_local_storage(client):
    def worker_local_demo():
        try:
            local_val = get_worker().data["my_key"]
        except KeyError:
            get_worker().data["my_key"] = "my_val"
            return "stored"
        return local_val

    def run(worker):
        return client.submit(worker_local_demo, workers=worker, pure=False).result()

    assert [run("alice"), run("alice"), run("bob")] == ["stored", "my_val", "stored"]

    def forget(dask_worker):
        if "my_key" in dask_worker.data:
            del dask_worker.data["my_key"]

    client.run(forget)


@pytest.mark.seed("S101", "S102")
def test_thread_local_storage_holds_handles(client):
    def counted():
        import tasks

        local = tasks.__dict__.setdefault("_local", threading.local())
        local.lock = getattr(local, "lock", None) or threading.Lock()  # cannot be pickled
        local.n = getattr(local, "n", 0) + 1
        return local.n

    counts = [client.submit(counted, workers="alice", pure=False).result() for _ in range(3)]
    assert counts == [1, 2, 3]  # alice has one thread, and it lives on


@pytest.mark.seed("S96", "S104", "S105", "S106", "S107", "S108", "S109")
def test_large_results_are_written_by_the_tasks(client, rides, tmp_path):
    df = dd.read_csv(rides, blocksize="50kB")
    expensive = df[df["total_amount"] > 400]
    expected = int((pd.read_csv(rides).total_amount > 400).sum())
    expensive.to_csv(tmp_path / "expensive-rides")
    parts = sorted((tmp_path / "expensive-rides").iterdir())
    assert len(parts) == df.npartitions and all(p.suffix == ".part" for p in parts)

    description = dd.read_csv(tmp_path / "expensive-rides" / "*").describe().compute()
    assert description.total_amount["count"] == expected
    assert description.total_amount["min"] > 400

    cat = subprocess.run(["cat", *parts], capture_output=True, check=True).stdout
    assert cat.count(b"\n") == expected + len(parts)  # each part has its header

    expensive.to_csv(tmp_path / "one.csv", single_file=True)
    assert len(pd.read_csv(tmp_path / "one.csv")) == expected

    expensive.to_parquet(tmp_path / "parquet")
    assert len(list((tmp_path / "parquet").glob("*.parquet"))) == df.npartitions
    assert len(pd.read_parquet(tmp_path / "parquet")) == expected


@pytest.mark.seed("S105")
def test_textfiles(client, tmp_path):
    import dask.bag as db

    db.from_sequence("abcdef", npartitions=3).to_textfiles(str(tmp_path / "*.txt"))
    assert [p.read_text() for p in sorted(tmp_path.glob("*.txt"))] == ["a\nb", "c\nd", "e\nf"]


@pytest.mark.seed("S110", "S111")
def test_user_code_failure_fails_nothing_else(client, capsys):
    @delayed
    def calculate(n):
        return n / 0

    before = set(client.scheduler_info()["workers"])
    good = client.map(lambda x: x + 1, range(20))
    try:
        calculate(10).compute()
    except Exception as e:
        print(e)
    assert capsys.readouterr().out == "division by zero\n"
    assert client.gather(good) == list(range(1, 21))
    assert set(client.scheduler_info()["workers"]) == before


@pytest.mark.seed("S146", "S147", "S148", "S149")
def test_client_run(client, a):
    workers = set(client.scheduler_info()["workers"])
    assert client.run(os.cpu_count) == dict.fromkeys(workers, os.cpu_count())
    assert client.run(os.cpu_count, workers=[a]) == {a: os.cpu_count()}

    value = delayed([1, 2, 3]).persist()

    def get_data(dask_worker):
        return [k for k in dask_worker.data.keys()]

    def visible():
        return {k for keys in client.run(get_data).values() for k in keys}

    eventually(lambda: value.key in visible())


@pytest.mark.seed("S150")
def test_dask_config_shows_what_is_in_force(client):
    import dask

    memory = client.run(dask.config.get, "distributed.worker.memory")
    for limits in memory.values():
        assert [limits[k] for k in ("target", "spill", "pause", "terminate")] == [0.6, 0.7, 0.8, 0.95]

    def failures(dask_scheduler):
        return dask.config.get("distributed.scheduler.allowed-failures")

    assert client.run_on_scheduler(failures) == 3


@pytest.mark.seed("S145")
def test_worker_logs(client, a):
    def talk(dask_worker):
        import logging

        logging.getLogger("distributed.worker").warning("something odd in %s", dask_worker.name)

    client.run(talk, workers=[a])
    logs = client.get_worker_logs()
    assert len(logs) == 3
    assert any(line.endswith("something odd in alice") for _, line in logs[a])
    assert any("Register worker" in line for _, line in client.get_scheduler_logs())
