"""Clients that lose their connection and come back under their id, as stock's do: `Client._reconnect` gives up all
futures and registers again. The scheduler may not have seen the old connection end, and may not have read all of it.
"""

import contextlib
import socket
import threading

import pytest
from harness import ask, eventually
from tasks import inc

TASKS = 60_000
KEPT_BY_STOCK = "stock takes the end of the old connection for that of the new one"


class Line:
    """One connection through a proxy: two threads that pass bytes on"""

    def __init__(self, near, far):
        self.near, self.far = near, far
        self.is_cut = False
        self._threads = [
            threading.Thread(target=self._pass_on, args=ends, daemon=True)
            for ends in ((near, far), (far, near))
        ]
        for thread in self._threads:
            thread.start()

    def _pass_on(self, source, sink):
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                sink.sendall(data)
        if not self.is_cut:
            with contextlib.suppress(OSError):
                sink.shutdown(socket.SHUT_WR)

    def cut(self):
        """The near end breaks; the far end is not told"""
        self.is_cut = True
        with contextlib.suppress(OSError):
            self.near.shutdown(socket.SHUT_RDWR)

    def close(self):
        for end in (self.near, self.far):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        self.near.close()
        self.far.close()


class Proxy:
    """Between a client and its scheduler"""

    def __init__(self, address):
        host, port = address.removeprefix("tcp://").rsplit(":", 1)
        self._scheduler = host, int(port)
        self._lines = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"tcp://127.0.0.1:{self._listener.getsockname()[1]}"
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self):
        with contextlib.suppress(OSError):
            while True:
                near, _ = self._listener.accept()
                self._lines.append(Line(near, socket.create_connection(self._scheduler)))

    def cut(self):
        """Every connection breaks for the client, and none for the scheduler; new ones can be made"""
        for line in self._lines:
            line.cut()

    def end_cut(self):
        """Now the scheduler hears of it"""
        for line in [line for line in self._lines if line.is_cut]:
            self._lines.remove(line)
            line.close()

    def close(self):
        self._listener.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._listener.close()
        for line in self._lines:
            line.close()


@pytest.fixture
def make_proxy():
    proxies = []

    def make(cluster):
        proxies.append(Proxy(cluster.address))
        return proxies[-1]

    yield make
    for proxy in proxies:
        proxy.close()


def comes_back(proxy, client, future):
    proxy.cut()
    eventually(lambda: future.cancelled() and client.status == "running")


@pytest.mark.stock_broken(KEPT_BY_STOCK)
def test_the_old_connection_ends_later(make_cluster, connect, make_proxy):
    cluster = make_cluster("a")
    proxy = make_proxy(cluster)
    client = connect(proxy)
    old = client.submit(inc, 1, key="old")
    assert old.result(timeout=30) == 2
    comes_back(proxy, client, old)
    new = client.submit(inc, 2, key="new")
    assert new.result(timeout=30) == 3
    assert set(cluster.ask("who_has")) == {"new"}  # what was given up is not kept for anybody
    proxy.end_cut()
    newer = client.submit(inc, new, key="newer")
    assert newer.result(timeout=30) == 4
    assert set(cluster.ask("who_has")) == {"new", "newer"}


@pytest.mark.stock_broken(KEPT_BY_STOCK)
def test_the_old_connection_is_not_read_to_its_end(make_cluster, connect, make_proxy):
    """What it still said would take away what the client asks for from here on, or ask for what it gave up"""
    cluster = make_cluster()
    proxy = make_proxy(cluster)
    client = connect(proxy)
    old = client.submit(inc, 1, key="mine")
    many = client.map(inc, range(TASKS), key=[f"m-{i}" for i in range(TASKS)])
    late = client.submit(inc, 1, key="late")  # read after the graph before it
    sample = [f"m-{i}" for i in range(0, TASKS, 1000)]
    eventually(lambda: any(cluster.ask("get_task_status", keys=sample).values()))
    comes_back(proxy, client, late)
    new = client.submit(inc, 2, key="mine")
    eventually(lambda: set(cluster.ask("who_has")) == {"mine"})
    proxy.end_cut()
    cluster.start_workers("a")
    assert new.result(timeout=60) == 3
    assert set(cluster.ask("who_has")) == {"mine"}
    assert old.cancelled() and many[-1].cancelled()


def test_no_client_takes_an_id_of_the_schedulers_own(kind, make_cluster, connect):
    """Under such ids it holds keys for nobody in particular"""
    if kind == "stock":
        pytest.skip("stock lets it, and forgets whose keys are whose")
    cluster = make_cluster("a")
    client = connect(cluster)
    with pytest.raises(ValueError, match="no client can have the id 'fire-and-forget'"):
        ask(cluster.address, "register-client", client="fire-and-forget", versions={})
    assert client.submit(inc, 1).result(timeout=30) == 2
