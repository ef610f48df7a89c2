"""POST api/cask/v1/actions/…: off by default; with a token they do what they say, and say who asked."""

from __future__ import annotations

import contextlib
import http.client
import json

import pytest
from distributed import Client, Event
from harness import CASK_WORKER, KIND, Cluster, eventually
from tasks import inc
from test_top import terminal

pytestmark = pytest.mark.skipif(KIND != "cask", reason="stock has no actions")

TOKEN = "open-sesame"
ON = {"DASK_CASK__DASHBOARD__PROCESS": "True", "DASK_CASK__DASHBOARD__LINGER": "0s"}
ACTIONS = {**ON, "DASK_CASK__DASHBOARD__ACTIONS": "True", "DASK_CASK__DASHBOARD__TOKEN": TOKEN}
HEADERS = {
    "Authorization": f"Bearer {TOKEN}",
    "Content-Type": "application/json",
    "X-Cask-Action": "1",
}


def port_of(cluster):
    return cluster.ask("identity", n_workers=0)["services"]["dashboard"]


def request(cluster, method, path, body=None, headers=HEADERS):
    connection = http.client.HTTPConnection("127.0.0.1", port_of(cluster), timeout=60)
    with contextlib.closing(connection):
        text = body if body is None or isinstance(body, str) else json.dumps(body)
        connection.request(method, f"/api/cask/v1/{path}", text, headers)
        answer = connection.getresponse()
        return answer.status, json.loads(answer.read())


def act(cluster, name, **body):
    status, answer = request(cluster, "POST", f"actions/{name}", body)
    assert status == 200, (name, status, answer)
    return answer["answer"]


@pytest.fixture
def acting():
    """A scheduler that takes actions, two workers, and a client"""
    cluster = Cluster(env=ACTIONS)
    try:
        cluster.start_workers("a", "b", command=CASK_WORKER, options=["--nanny"])
        with Client(cluster.address, set_as_default=False) as client:
            yield cluster, client
    finally:
        cluster.close()


def fails_without(event):
    if not Event(event).is_set():
        raise ValueError("not yet")
    return 7


def waits_for(event):
    return Event(event).wait("60s")


NO_TOKEN = {**ON, "DASK_CASK__DASHBOARD__ACTIONS": "True"}


@pytest.mark.parametrize("env", [ON, NO_TOKEN], ids=["default", "no token"])
def test_off(env):
    """Nobody switched actions on, or somebody did without a token: all are refused, and nothing happens"""
    cluster = Cluster(env=env)
    try:
        assert request(cluster, "GET", "actions")[1]["enabled"] is False
        status, answer = request(cluster, "POST", "actions/restart", {})
        assert status == 403 and "cask.dashboard.actions" in answer["error"]
        log = cluster.scheduler.log()
        assert ("it wants a cask.dashboard.token" in log) == (env is not ON)
        assert "asked by" not in log
    finally:
        cluster.close()


def test_refused(acting):
    """Without token, header or type, from another site, malformed, about what is not known: a clear error each"""
    cluster, _ = acting
    address = cluster.addresses()["a"]
    body = {"workers": [address]}
    for status, headers in (
        (401, {"Authorization": "Bearer wrong"}),
        (403, {"X-Cask-Action": ""}),
        (403, {"Content-Type": "text/plain"}),
        (403, {"Origin": "http://evil.example"}),
    ):
        got = request(cluster, "POST", "actions/retire", body, {**HEADERS, **headers})
        assert got[0] == status and got[1]["error"], (headers, got)
    for status, name, body in (
        (404, "explode", {}),
        (400, "retire", {}),
        (400, "retire", {"workers": []}),
        (404, "retire", {"workers": ["tcp://127.0.0.1:1"]}),
        (404, "retire", {"workers": [3]}),
        (400, "cancel", {"keys": "x"}),
        (400, "cancel", {"keys": ["x"] * 1001}),
        (404, "retry", {"failure": 99}),
        (400, "restart", "[]"),
        (400, "restart", "{"),
        (413, "restart", " " * 70000),
    ):
        got = request(cluster, "POST", f"actions/{name}", body)
        assert got[0] == status and got[1]["error"], (name, body, got)
    assert request(cluster, "GET", "actions/restart")[0] == 405
    assert set(cluster.addresses()) == {"a", "b"}
    assert "asked by" not in cluster.scheduler.log()
    own = {**HEADERS, "Origin": f"http://127.0.0.1:{port_of(cluster)}"}
    assert request(cluster, "POST", "actions/cancel", {"keys": ["x"]}, own) == (200, {"answer": 0})


def test_tasks(acting):
    """A task that runs is cancelled; what failed is retried: by its failure's id, by str(key) of a tuple"""
    cluster, client = acting
    running = client.submit(waits_for, "never", key=("run", 1))
    eventually(lambda: any(cluster.ask("processing").values()), 60)
    assert act(cluster, "cancel", keys=["('run', 1)", "unknown"]) == 1
    eventually(lambda: running.status == "cancelled", 60)
    failed = client.map(fails_without, ["go", "go"], key=["fail-1", ("fail", 2)])
    for future in failed:
        with pytest.raises(ValueError):
            future.result(60)
    Event("go", client=client).set()
    (failure,) = request(cluster, "GET", "failures")[1]["failures"]
    assert failure["count"] == 2
    assert sorted(act(cluster, "retry", failure=failure["id"]), key=str) == [["fail", 2], "fail-1"]
    assert client.gather(failed) == [7, 7]
    assert act(cluster, "retry", keys=["nobody-knows-it"]) == []
    topic = dict(client.get_events())["dashboard-actions"]
    assert [(event["action"], event["by"]) for _, event in topic] == [
        ("cancel", "127.0.0.1"),
        ("retry", "127.0.0.1"),
        ("retry", "127.0.0.1"),
    ]
    assert 'The dashboard, asked by 127.0.0.1: {"op": "cancel"' in cluster.scheduler.log()


def test_workers(acting):
    """A worker is restarted, one retires with its data kept, all are restarted"""
    cluster, client = acting
    futures = client.map(inc, range(10))
    assert client.gather(futures) == list(range(1, 11))
    a, b = (cluster.addresses()[name] for name in "ab")
    pids = client.run(lambda: __import__("os").getpid())
    assert act(cluster, "restart-workers", workers=[b]) == {b: "OK"}
    eventually(lambda: set(cluster.addresses()) == {"a", "b"}, 60)
    after = eventually(lambda: len(got := client.run(lambda: __import__("os").getpid())) == 2 and got, 60)
    assert after[a] == pids[a] and pids[b] not in after.values()
    client.gather(futures)
    act(cluster, "retire", workers=[a])
    eventually(lambda: set(cluster.addresses()) == {"b"}, 60)
    assert client.gather(futures) == list(range(1, 11))
    act(cluster, "restart")
    eventually(lambda: cluster.ask("who_has") == {}, 60)


def test_top_acts(acting):
    """In `cask top` somebody retires a worker: after a question, and after a yes"""
    cluster, _ = acting
    url = f"http://127.0.0.1:{port_of(cluster)}/status?token={TOKEN}"
    with terminal(url) as top:
        top.press("w")
        top.shows("x act")
        top.shows("> ")
        top.press("/b\r")  # they came in either order
        top.shows("> b")
        top.press("x")
        top.shows("Retire this worker?")
        top.press("n")
        top.shows("filter: b")
        assert set(cluster.addresses()) == {"a", "b"}
        top.press("x")
        top.shows("Retire this worker?")
        top.press("y")
        top.shows("Done")
        eventually(lambda: set(cluster.addresses()) == {"a"}, 60)
        top.press("q")
        assert top.end() == 0
