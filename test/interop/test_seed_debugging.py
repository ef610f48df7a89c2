"""The text "Debugging" (000): exceptions, local schedulers, failed futures, state, logs."""

import cProfile
import os
import pstats
import re
import threading
import time

import dask.bag as db
import dask.dataframe as dd
import pandas as pd
import pytest
from dask import delayed
from distributed import Client, futures_of, wait
from harness import eventually
from tasks import slowinc


def identify(x):
    return os.getpid(), threading.get_ident()


@pytest.mark.seed("S6", "S8", "S9", "S139")
def test_single_threaded_compute_stays_in_this_thread(client):
    x = delayed(identify)(1)
    assert x.compute(scheduler="single-threaded") == (os.getpid(), threading.get_ident())
    assert x.compute()[0] != os.getpid()  # with a Client, the default is the cluster

    profile = cProfile.Profile()
    profile.runcall(x.compute, scheduler="single-threaded")
    assert any(name == "identify" for _, _, name in pstats.Stats(profile).stats)


@pytest.mark.seed("S12")
@pytest.mark.parametrize("scheduler", ["threads", "sync"])
def test_rerun_exceptions_locally(client, scheduler):
    @delayed
    def fails(numerator, denominator):
        return numerator / denominator

    with pytest.raises(ZeroDivisionError) as caught:
        fails(3, 0).compute(scheduler=scheduler, rerun_exceptions_locally=True)
    frame = caught.traceback[-1].frame
    assert frame.f_locals == {"numerator": 3, "denominator": 0}


@pytest.mark.seed("S16", "S17", "S18", "S19", "S20", "S21")
def test_failed_futures_are_removed_by_hand(client):
    def load(i):
        time.sleep(0.1)
        if i in (2, 4):
            raise ValueError(f"faulty rows in {i}")
        return pd.DataFrame({"x": range(10), "part": i})

    meta = pd.DataFrame({"x": [1], "part": [1]}).iloc[:0]
    df = dd.from_map(load, range(5), meta=meta)
    df = df.persist()  # start computing on the cluster

    futures = futures_of(df)
    assert len(futures) == 5
    assert any(f.status == "pending" for f in futures)  # persist does not wait
    eventually(lambda: not any(f.status == "pending" for f in futures))

    assert [f.status for f in futures] == ["finished"] * 2 + ["error", "finished", "error"]
    assert re.fullmatch(
        r"<Future: finished, type: pandas\.DataFrame, key: \('load-.*-[0-9a-f]+', 0\)>",
        repr(futures[0]),
    )
    assert re.fullmatch(r"<Future: error, key: \('load-.*-[0-9a-f]+', 2\)>", repr(futures[2]))

    good_futures = [f for f in futures if f.status == "finished"]
    df = dd.from_delayed(good_futures, meta=df._meta)
    assert len(df) == 30
    assert sorted(df.part.unique().compute()) == [0, 1, 3]


@pytest.mark.seed("S22", "S140")
def test_the_futures_api_makes_it_natural(client):
    futures = client.map(lambda x: 10 / x, [1, 0, 2, 0, 5])
    wait(futures)
    assert client.gather(futures, errors="skip") == [10, 5, 2]
    assert len({f.key for f in futures if f.status == "error"}) == 1  # two 0's, one task
    with pytest.raises(ZeroDivisionError):
        client.gather(futures)


@pytest.mark.seed("S14")
def test_recreate_error_takes_a_collection_of_futures(client):
    bag = db.from_sequence([4, 2, 0], npartitions=3).map(lambda x: 1 / x).persist()
    wait(bag)
    with pytest.raises(ZeroDivisionError):
        client.recreate_error_locally(bag)


@pytest.mark.seed("S25", "S30", "S28", "S95")
def test_metrics_of_each_worker(client):
    def measured():
        workers = client.scheduler_info()["workers"].values()
        return all(w["metrics"].get("num_fds") for w in workers) and workers

    for worker in eventually(measured):
        metrics = worker["metrics"]
        assert {"cpu", "memory", "host_net_io", "host_disk_io", "bandwidth"} <= set(metrics)
        assert metrics["memory"] > 10e6
        assert set(metrics["spilled_bytes"]) == {"memory", "disk"}
        assert metrics["managed_bytes"] >= 0


@pytest.mark.seed("S26")
def test_history_of_previous_tasks(client):
    client.get_task_stream()  # stock records from the first call on
    futures = client.map(slowinc, range(5), delay=0.01)
    wait(futures)
    history = client.get_task_stream(start="10s")
    assert {f.key for f in futures} <= {row["key"] for row in history}


@pytest.mark.seed("S27", "S44")
def test_allocation_of_tasks_while_they_run(client, a):
    futures = client.map(slowinc, range(3), delay=0.6, workers="alice")
    processing = eventually(lambda: (p := client.processing()) and p.get(a) and p)
    assert set(processing[a]) == {f.key for f in futures}
    assert client.run(lambda: 1, workers=[a]) == {a: 1}  # not behind the tasks
    assert futures[-1].status == "pending"


LOG_CONFIG = """
logging:
  distributed: info
  distributed.client: warning
  distributed.scheduler: {scheduler}
  distributed.worker: debug
"""


@pytest.mark.seed("S32", "S33", "S34", "S36")
@pytest.mark.parametrize("level", ["info", "warning"])
def test_logging_levels_come_from_yaml(make_cluster, tmp_path, level):
    """One line of the form that Dask's logs have, to stderr, unless the YAML says otherwise"""
    (tmp_path / "config.yaml").write_text(LOG_CONFIG.format(scheduler=level))
    cluster = make_cluster("w", env={"DASK_CONFIG": str(tmp_path)})
    line = r"(?m)^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d,\d{3} - distributed\.scheduler - INFO - "
    has_line = re.search(line, cluster.scheduler.log()) is not None
    assert has_line == (level == "info")
    eventually(lambda: " - distributed.worker - DEBUG - " in cluster.workers["w"].log())


@pytest.mark.seed("S32", "S35")
def test_default_log_says_where_the_scheduler_is(cluster):
    log = cluster.scheduler.log()
    assert re.search(rf"distributed\.scheduler - INFO - +Scheduler at: +{cluster.address}", log)
    assert "DEBUG" not in log
    assert len(re.findall(r"distributed\.scheduler - INFO - Register worker", log)) >= 3


@pytest.mark.seed("S34")
def test_logging_level_from_the_environment(make_cluster):
    cluster = make_cluster(env={"DASK_LOGGING__DISTRIBUTED": "error"})
    with Client(cluster.address):
        pass
    assert "INFO" not in cluster.scheduler.log()


@pytest.mark.seed("S38", "S39", "S41", "S43", "S178", "S179")
def test_state_of_the_scheduler_can_be_inspected(client, a):
    futures = client.map(slowinc, range(3), delay=0.5, workers="alice", key=["x-1", "x-2", "x-3"])
    bad = client.submit(lambda: 1 / 0, key="bad", workers="bob")
    wait(bad)

    def processing(dask_scheduler):
        return {w.address: {ts.key for ts in w.processing} for w in dask_scheduler.workers.values()}

    assert client.run_on_scheduler(processing)[a] <= {f.key for f in futures}

    def failed(dask_scheduler):
        tasks = dask_scheduler.tasks
        return [(k, v.state) for k, v in tasks.items() if v.exception is not None]

    assert client.run_on_scheduler(failed) == [("bad", "erred")]
    text = client.run_on_scheduler(
        lambda dask_scheduler: dask_scheduler.tasks["bad"].exception_text
    )
    assert "ZeroDivisionError" in text
    state = client.sync(client.scheduler.get_cluster_state, exclude=[])
    assert state["scheduler"]["tasks"]["bad"]["state"] == "erred"


@pytest.mark.seed("S40", "S41")
def test_state_of_the_workers_can_be_inspected(client, a):
    f = client.submit(slowinc, 1, key="here", workers="alice")
    wait(f)

    def state(dask_worker):
        return {key: ts.state for key, ts in dask_worker.state.tasks.items()}

    assert client.run(state, workers=[a])[a]["here"] == "memory"
