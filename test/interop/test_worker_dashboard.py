"""What a worker serves over HTTP: pages about itself, /health, /metrics; also through the scheduler's /proxy."""

from __future__ import annotations

import contextlib
import http.client
import json
import socket

import pytest
from distributed import Client, Event
from harness import CASK_WORKER, KIND, Cluster, eventually
from observer_stock import families
from test_observer import ON

pytestmark = pytest.mark.skipif(KIND != "cask", reason="the worker is cask's")

MARKUP = "<img src=x onerror=alert(1)>"
PAGES = ["/status", "/system", "/counters", "/profile", "/profile-server"]


def waits_for(event):
    return Event(event).wait("60s")


@pytest.fixture(scope="module")
def worker():
    """A scheduler with a dashboard and one of our workers, in which a task with a name of markup runs"""
    cluster = Cluster(env=ON)
    try:
        cluster.start_workers("a", command=CASK_WORKER, options=["--dashboard"])
        with Client(cluster.address, set_as_default=False) as client:
            future = client.submit(waits_for, "end", key=MARKUP)
            eventually(lambda: any(cluster.ask("processing").values()), 60)
            yield cluster
            Event("end", client=client).set()
            assert future.result(60)
    finally:
        cluster.close()


def port_of(cluster, name="a"):
    return cluster.infos()[name]["services"]["dashboard"]


def fetch(port, path, method="GET", headers=None):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    with contextlib.closing(connection):
        connection.request(method, path, headers=headers or {})
        answer = connection.getresponse()
        return answer.status, {k.title(): v for k, v in answer.headers.items()}, answer.read().decode()


def raw(port, request):
    with socket.create_connection(("127.0.0.1", port), 60) as connection:
        connection.sendall(request)
        got = b""
        with contextlib.suppress(ConnectionResetError):
            while part := connection.recv(65536):
                got += part
        return got


def test_pages(worker):
    """Every page says what it is about; keys are text, not markup; nothing is loaded from elsewhere"""
    port = port_of(worker)
    for path in PAGES:
        status, headers, body = fetch(port, path)
        assert status == 200 and headers["Content-Type"].startswith("text/html")
        assert worker.addresses()["a"] in body and "<script" not in body and MARKUP not in body
        assert "default-src 'none'" in headers["Content-Security-Policy"]
    running = eventually(lambda: "&lt;img src=x" in (body := fetch(port, "/status")[2]) and body, 60)
    assert "executing" in running
    assert fetch(port, "/")[:1] == (302,) and fetch(port, "/")[1]["Location"] == "status"
    assert fetch(port, "/status", "HEAD")[2] == ""
    assert set(PAGES) < set(json.loads(fetch(port, "/sitemap.json")[2])["paths"])
    assert fetch(port, "/health")[2] == "ok"
    assert fetch(port, "/nothing")[0] == 404
    assert fetch(port, "/status", "POST")[0] == 405


def test_metrics(worker):
    """/metrics is read by Prometheus' own parser; names as stock's"""
    text = fetch(port_of(worker), "/metrics")[2]
    found = families(text)
    process = {"virtual_memory_bytes", "resident_memory_bytes", "start_time_seconds", "cpu_seconds", "open_fds", "max_fds"}
    assert {f"process_{name}" for name in process} <= set(found)
    values = dict(line.rsplit(" ", 1) for line in text.splitlines() if "{" not in line and line[:1] != "#")
    assert 0 < float(values["process_open_fds"]) < float(values["process_max_fds"])
    assert 0 < float(values["process_resident_memory_bytes"]) < float(values["process_virtual_memory_bytes"])
    assert float(values["dask_worker_tick_count_total"]) > 0 and float(values["process_cpu_seconds_total"]) > 0
    assert {"dask_worker_tick_duration_maximum_seconds", "dask_worker_transfer_outgoing_bytes_total"} <= set(values)
    names = {name.removeprefix("dask_worker_") for name in found}
    assert {"tasks", "threads", "latency_seconds", "memory_bytes", "transfer_incoming_bytes"} <= names
    assert {"transfer_outgoing_count", "spill_bytes", "spill_count", "spill_time_seconds"} <= names


def test_through_the_scheduler(worker):
    """The scheduler's dashboard passes on what the worker says"""
    dashboard = worker.ask("identity", n_workers=0)["services"]["dashboard"]
    base = f"/proxy/{port_of(worker)}/127.0.0.1"
    assert "Running tasks" in fetch(dashboard, f"{base}/status")[2]
    assert fetch(dashboard, f"{base}/health")[2] == "ok"
    status, headers, _ = fetch(dashboard, f"{base}/")
    assert (status, headers["Location"]) == (302, "status")


@pytest.mark.parametrize(
    "request_",
    [b"\r\n\r\n", b"GET\r\n\r\n", b"GET /status\r\n\r\n", b"GET x HTTP/1.1\r\n\r\n", b"\0" * 8192, b"GET /" + b"x" * 9000],
)
def test_malformed(worker, request_):
    """What is no request, or too long a one, is refused or dropped; the worker goes on"""
    got = raw(port_of(worker), request_)
    assert got == b"" or got.split()[1] in (b"400", b"431"), got
    assert fetch(port_of(worker), "/health")[2] == "ok"


def test_options():
    """--no-dashboard leaves what programs read; a prefix; a token; an address that is taken"""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        cluster = Cluster()
        try:
            cluster.start_workers("plain", command=CASK_WORKER)
            options = ["--dashboard", "--dashboard-address", address]
            cluster.start_workers("other", command=CASK_WORKER, options=options)
            prefix = ["--dashboard", "--dashboard-prefix", "/w/"]
            secret = {"DASK_CASK__DASHBOARD__TOKEN": "secret"}
            cluster.start_workers("token", command=CASK_WORKER, options=prefix, env=secret)
            plain, other, token = (port_of(cluster, name) for name in ("plain", "other", "token"))
            assert fetch(plain, "/status")[0] == 404 and fetch(plain, "/metrics")[0] == 200
            assert other != taken.getsockname()[1] and fetch(other, "/status")[0] == 200
            assert "is already in use" in cluster.workers["other"].log()
            assert fetch(token, "/status")[0] == 404 and fetch(token, "/w/status")[0] == 401
            assert fetch(token, "/w/status?token=secret")[0] == 200
            assert fetch(token, "/w/metrics", headers={"Authorization": "Bearer secret"})[0] == 200
            assert fetch(token, "/w/health")[0] == 200
        finally:
            cluster.close()
