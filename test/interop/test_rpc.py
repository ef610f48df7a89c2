"""Operations that no method of a client calls, or only by a detour: asked for by name."""

import concurrent.futures
import os
import time

import pytest
from distributed import Future, Lock, Queue, Variable, wait
from harness import KIND, eventually
from tasks import inc, slowinc


def test_echo(cluster):
    assert cluster.ask("echo", data={"a": [1, b"2"]}) == {"a": (1, b"2")}


def test_task_status(cluster, client):
    x = client.submit(inc, 1, key="x")
    y = client.submit(slowinc, 1, delay=1, key="y", workers="alice")
    wait(x)
    eventually(lambda: cluster.ask("get_task_status", keys=["y"]) == {"y": "processing"})
    assert cluster.ask("get_task_status", keys=["x", "none"]) == {"x": "memory", "none": None}
    del y


def test_check_idle(cluster, client):
    busy = client.submit(slowinc, 1, delay=0.3)
    eventually(lambda: cluster.ask("check_idle") is None)
    wait(busy)
    assert eventually(lambda: cluster.ask("check_idle")) <= time.time() + 1


def test_logs_by_both_names(cluster, client):
    assert client.get_scheduler_logs(n=3) == client.get_scheduler_logs(n=3)
    for op in ("logs", "get_logs"):
        assert any("Scheduler at:" in text for _, text in cluster.ask(op))
        timed = cluster.ask(op, timestamps=True, n=1)
        assert len(timed) == 1 and len(timed[0]) == 3


def test_dump_state(cluster, client):
    x = client.submit(inc, 1, key="x")
    wait(x)
    state = cluster.ask("dump_state", exclude=["transition_log"])
    assert {"address", "id", "tasks", "workers", "clients"} <= set(state)
    assert "transition_log" not in state
    assert state["tasks"]["x"]["state"] == "memory"


def test_set_restrictions(cluster, client):
    x = client.submit(inc, 1, key="x", workers=["nobody"], resources={"none": 1})
    wanted = lambda: cluster.ask("get_task_status", keys=["x"])["x"]  # noqa: E731
    eventually(lambda: wanted() == "no-worker")
    cluster.ask("set_restrictions", worker={"x": ["tcp://127.0.0.1:1"]})
    assert wanted() == "no-worker"
    del x


def test_add_keys(cluster, client, a):
    x = client.submit(inc, 1, key="x", workers="alice")
    wait(x)
    assert cluster.ask("add_keys", worker=a, keys=["x"]) == "OK"
    assert cluster.ask("add_keys", worker="tcp://127.0.0.1:1", keys=["x"]) == "not found"
    assert x.result() == 2


def test_proxy_and_broadcast(cluster, client, a):
    assert cluster.ask("proxy", worker=a, msg={"op": "ping"}) == b"pong"
    pongs = cluster.ask("broadcast", msg={"op": "ping"})
    assert len(pongs) == 3 and set(pongs.values()) == {b"pong"}
    assert cluster.ask("broadcast", msg={"op": "ping"}, workers=[a]) == {a: b"pong"}
    assert len(cluster.ask("broadcast", msg={"op": "ping"}, hosts=["127.0.0.1"])) == 3


def test_a_lock_that_is_held_for_long_is_refreshed(make_cluster, connect):
    env = {
        "DASK_DISTRIBUTED__SCHEDULER__LOCKS__LEASE_TIMEOUT": "500ms",
        "DASK_DISTRIBUTED__SCHEDULER__LOCKS__LEASE_VALIDATION_INTERVAL": "100ms",
    }
    import dask

    cluster = make_cluster(env=env)
    connect(cluster)
    with dask.config.set({"distributed.scheduler.locks.lease-timeout": "500ms"}):
        with Lock("long"):
            assert Lock("long").acquire(timeout=1.5) is False


def test_queues_end_with_their_last_handle(client):
    f = client.submit(inc, 1)
    queue = Queue("closing")
    queue.put(f)
    key = f.key
    del f
    assert key in client.who_has()
    queue.close()
    eventually(lambda: key not in client.who_has())


def test_a_result_that_is_gone_is_asked_for_again(client, a):
    """The holder has dropped it: gather fails, the client asks anew, it is computed again"""
    x = client.submit(inc, 1, key="x", workers="alice")
    wait(x)

    def drop(dask_worker):
        dask_worker.handle_stimulus(free_keys())

    def free_keys():
        from distributed.worker_state_machine import FreeKeysEvent

        return FreeKeysEvent(keys=["x"], stimulus_id="test")

    client.run(drop, workers=[a])
    assert x.result(timeout=20) == 2


def test_an_input_that_is_gone_is_computed_again(client, a):
    x = client.submit(inc, 1, key="x", workers="alice", allow_other_workers=True)
    wait(x)

    def drop(dask_worker):
        from distributed.worker_state_machine import RemoveReplicasEvent

        dask_worker.handle_stimulus(RemoveReplicasEvent(keys=["x"], stimulus_id="test"))

    client.run(drop, workers=[a])
    assert client.submit(inc, x, workers="bob").result(timeout=20) == 3


def test_variables_survive_their_setter(cluster, client, connect):
    setter = connect(cluster)
    Variable("kept", client=setter).set(setter.submit(inc, 1))
    setter.close()
    variable = Variable("kept", client=client)
    assert variable.get(timeout=10).result(timeout=10) == 2
    variable.delete()


@pytest.mark.timeout(180)
def test_benchmark_hardware(make_cluster, connect):
    client = connect(make_cluster("a", "b"))
    result = client.benchmark_hardware()
    assert set(result) == {"disk", "memory", "network"}
    assert all(rate > 0 for sizes in result.values() for rate in sizes.values())


def test_data_is_placed_by_a_stream(client, a):
    """`update-data`, as clients before 2026 said where they had put what they scattered"""

    def put(dask_worker):
        dask_worker.update_data({"placed": 5}, stimulus_id="put")

    client.run(put, workers=[a])
    future = Future("placed", client)
    message = {"who_has": {"placed": [a]}, "nbytes": {"placed": 28}, "client": client.id}
    client._send_to_scheduler({"op": "update-data", **message})
    assert future.result(timeout=10) == 5
    assert client.who_has([future]) == {"placed": (a,)}

def test_blocked_handlers(make_cluster, connect):
    """Peers may not call them; what users run on the scheduler may"""
    setting = "DASK_DISTRIBUTED__SCHEDULER__BLOCKED_HANDLERS"
    client = connect(make_cluster(env={setting: "['versions', 'benchmark_hardware']"}))
    with pytest.raises(ValueError, match="'versions' handler has been explicitly disallowed in Scheduler"):
        client.get_versions()
    assert client.run_on_scheduler(lambda dask_scheduler: type(dask_scheduler).__name__)
    assert client.nthreads() == {}


def run_until(path, error=None):
    while not os.path.exists(path):
        time.sleep(0.01)
    if error is not None:
        raise error
    return "done"


@pytest.mark.skipif(KIND == "stock", reason="stock's scheduler says nil, which its client cannot take")
@pytest.mark.parametrize("error, cause", [(ValueError("x"), "x"), (None, None)])
def test_error_cause_of_what_is_under_way(cluster, client, tmp_path, error, cause):
    """Answered when clients are told of the end, as the asker may have been told of an earlier one"""
    x = client.submit(run_until, str(tmp_path / "go"), error, key="x")
    y = client.submit(inc, x, key="y")
    eventually(lambda: cluster.ask("get_task_status", keys=["y"]) == {"y": "waiting"})
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        asked = pool.submit(cluster.ask, "get_error_cause", keys=["y", "nobody's"])
        eventually(lambda: cluster.ask("get_task_status", keys=["x"]) == {"x": "processing"})
        (tmp_path / "go").touch()
        if cause is None:
            eventually(lambda: x.status == "finished")
            with pytest.raises(TypeError):
                y.result()  # it cannot add to a text, and is asked about
            assert asked.result(60) == "y"
        else:
            assert asked.result(60) == cause
            wait([y])
            assert y.status == "error"
    assert cluster.ask("get_error_cause", keys=["nobody's"]) is None
