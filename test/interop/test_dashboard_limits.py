"""Viewers and strangers that take all they can get: the others notice nothing, and the dashboard comes out of it."""

from __future__ import annotations

import contextlib
import json
import pathlib
import resource
import select
import socket

import pytest
from distributed import Client
from harness import KIND, SCHEDULER_CMD, Cluster, eventually
from observer_stock import get
from tasks import inc
from test_dashboard_websocket import TEXT, Peer, frame
from test_observer import ON, api, base_of, child_of, read_frame

pytestmark = pytest.mark.skipif(KIND != "cask", reason="stock has no observer")

CONNECTIONS_MAX = 2048  # src/observer/server.c
# The tables of what happens meanwhile included; AddressSanitizer keeps what was freed for a while.
MEMORY_MAX = (40 if "asan" in SCHEDULER_CMD else 8) << 20


@pytest.fixture(scope="module")
def dashboard():
    cluster = Cluster(env=ON)
    try:
        cluster.start_workers("a", nthreads=2)
        yield cluster
    finally:
        cluster.close()


@pytest.fixture
def files():
    """How many sockets the test may open: as many as it wants, where the machine lets it"""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield min(CONNECTIONS_MAX + 100, hard - 200)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def memory_of(pid):
    """Resident bytes"""
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmRSS:"))


def subscribe(peer, channel, number=1, hz=10):
    peer.send(frame(TEXT, json.dumps({"sub": channel, "id": number, "hz": hz, "p": {"keys": True}}).encode()))


def test_a_viewer_that_does_not_read(dashboard):
    """It is owed the newest frame and no more, however much happens; others see all of it"""
    base = base_of(dashboard)
    observer = child_of(dashboard.scheduler.pid)
    with Client(dashboard.address, timeout=30) as client, Peer(base) as slow, Peer(base) as quick:
        for number, channel in enumerate(("summary", "workers", "groups", "stream", "failures", "logs"), 1):
            subscribe(slow, channel, number)
        subscribe(quick, "summary")
        quick.receive()
        before = memory_of(observer)
        seen = done = 0
        for _ in range(8):
            client.gather(client.map(inc, range(100), pure=False))
            done += 100
            while seen < done:  # column 15: runs
                seen = read_frame(quick.receive()[1])["columns"][15][0]
        assert seen == done == api(base, "summary")["runs"]
        assert memory_of(observer) - before < MEMORY_MAX


def test_more_connections_than_there_may_be(dashboard, files):
    """Strangers say nothing, or half a request: a viewer goes on, and when their time is over all is as before"""
    base = base_of(dashboard)
    host, port = base.removeprefix("http://").split(":")
    observer = child_of(dashboard.scheduler.pid)
    with contextlib.ExitStack() as stack:
        viewer = stack.enter_context(Peer(base))
        subscribe(viewer, "summary")
        viewer.receive()
        for i in range(files):
            stranger = stack.enter_context(socket.create_connection((host, int(port)), 60))
            if i % 2:
                with contextlib.suppress(OSError):
                    stranger.sendall(b"GET /status HTTP/1.1\r\nHost: x\r\nX-Slow: ")
            stranger.setblocking(False)
            ready, _, _ = select.select([viewer.socket], [], [], 0)
            if ready:
                viewer.receive()
        eventually(lambda: get(base + "/health")[2] == b"ok", 120, "it serves while they still hold on")
        viewer.receive()
    assert child_of(dashboard.scheduler.pid) == observer
    assert get(base + "/health")[2] == b"ok"
