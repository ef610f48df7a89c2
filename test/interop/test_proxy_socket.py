"""WS /proxy/PORT/HOST/PATH: the WebSockets of registered workers' pages, as the ends speak them, and of nothing else."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import re
import socket
import ssl
import threading
import time
import urllib.request
from pathlib import Path

import pytest
from distributed import Worker
from harness import KIND, Cluster, eventually
from test_dashboard_security import TLS
from test_observer import ON, base_of, child_of
from tornado.httpclient import HTTPClientError, HTTPRequest
from tornado.httpserver import HTTPServer
from tornado.testing import bind_unused_port
from tornado.web import Application, RequestHandler
from tornado.websocket import WebSocketHandler, websocket_connect

pytestmark = pytest.mark.skipif(KIND != "cask", reason="stock proxies with jupyter-server-proxy")

UPGRADE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
    "Sec-WebSocket-Version": "13",
}
LARGE = 20 << 20
FLOOD, FLOODS = bytes(1 << 20), 64


class Page(WebSocketHandler):
    """What a worker's page may do with its WebSocket; by the path"""

    seen: list = []
    codes: list = []
    open_count = sent = 0
    port = None

    def select_subprotocol(self, subprotocols):
        return subprotocols[-1] if subprotocols else None

    async def open(self, what):
        self.seen.append((self.request.uri, self.request.headers))
        Page.open_count += 1
        if what == "greets":
            await self.write_message("hello")  # in the packet of its answer, perhaps
        elif what == "leaves":
            self.close(4321, "enough")
        elif what == "drops":
            self.ws_connection.stream.close()
        elif what == "floods":
            asyncio.ensure_future(self.flood())

    async def flood(self):
        for _ in range(FLOODS):
            await self.write_message(FLOOD, binary=True)
            Page.sent += 1

    async def on_message(self, message):
        await self.write_message(message, binary=isinstance(message, bytes))

    def on_close(self):
        Page.open_count -= 1
        self.codes.append((self.close_code, self.close_reason))


class Liar(RequestHandler):
    """Says yes without having understood"""

    def get(self, what):
        self.set_status(101)
        self.set_header("Upgrade", "websocket")
        self.set_header("Connection", "Upgrade")
        self.set_header("Sec-WebSocket-Accept", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=")
        self.finish()


class Dashing(Worker):
    """A stock worker whose dashboard is ours"""

    @property
    def service_ports(self):
        return {"dashboard": Page.port}


def run(coroutine, loop=None):
    if loop is None:
        return asyncio.run(asyncio.wait_for(coroutine, 60))
    return asyncio.run_coroutine_threadsafe(coroutine, loop).result(60)


@pytest.fixture(scope="module")
def proxied():
    """A scheduler; a stock worker with its own dashboard; one whose page is Page"""
    cluster = Cluster("--dashboard-prefix", "/deep", env=ON)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    async def start():
        sock, Page.port = bind_unused_port()
        pages = Application([("/lies/(.*)", Liar), ("/(.*)", Page)], websocket_max_message_size=LARGE)
        server = HTTPServer(pages)
        server.add_socket(sock)
        return server, await Dashing(cluster.address, name="paged", dashboard=False, host="127.0.0.1")

    async def stop(server, worker):
        await worker.close()
        server.stop()
        await server.close_all_connections()

    try:
        cluster.start_workers("stock", options=["--dashboard"])
        started = run(start(), loop)
        cluster.base = base_of(cluster)
        yield cluster
        run(stop(*started), loop)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
        cluster.close()


def dial(base, path, protocols=None, headers=None):
    request = HTTPRequest(base.replace("http", "ws") + path, headers=headers, request_timeout=60)
    return websocket_connect(request, subprotocols=protocols, max_message_size=LARGE)


def dial_page(cluster, what, *arguments, **options):
    return dial(cluster.base, f"/deep/proxy/{Page.port}/127.0.0.1/{what}", *arguments, **options)


def refusal(base, path, **options):
    """The status that says no"""
    with pytest.raises(HTTPClientError) as error:

        async def ask():
            (await dial(base, path, **options)).close()

        run(ask())
    return error.value.code


def test_plots_of_a_stock_worker(proxied):
    """A person looks at a stock worker's plots through the scheduler's dashboard: Bokeh gets its document"""
    port = proxied.infos()["stock"]["services"]["dashboard"]
    base, page = proxied.base, f"/deep/proxy/{port}/127.0.0.1/status"
    with urllib.request.urlopen(base + page, timeout=60) as answer:
        token = re.search(r'"token":"([^"]+)"', answer.read().decode())[1]
    assert len(token) > 128  # libwebsockets would not take it

    async def look():
        viewer = await dial(base, page + "/ws", ["bokeh", token], headers={"Origin": "null"})
        assert viewer.selected_subprotocol == "bokeh"
        header, _, _ = [json.loads(await viewer.read_message()) for _ in range(3)]
        assert header["msgtype"] == "ACK"
        for part in ({"msgid": "1", "msgtype": "PULL-DOC-REQ"}, {}, {}):
            await viewer.write_message(json.dumps(part))
        while True:  # what the plots have to tell may come before
            header, _, content = [json.loads(await viewer.read_message()) for _ in range(3)]
            for _ in range(header.get("num_buffers", 0) * 2):
                await viewer.read_message()
            if header["msgtype"] == "PULL-DOC-REPLY":
                break
        assert header["reqid"] == "1" and content["doc"]["roots"]
        viewer.close()

    run(look())


def test_messages_go_through(proxied):
    """Text, bytes, nothing, much; the subprotocol is the worker's choice; what the browser is stays here"""
    messages = ["ünï", b"\x00\xff", "", b"", bytes(range(256)) * (LARGE // 256 - 1), "last"]
    secrets = {"Cookie": "cask-token=secret", "Authorization": "Bearer secret", "Origin": "http://secret"}
    Page.seen.clear()

    async def talk():
        viewer = await dial_page(proxied, "echo?a=%2F%22&token=secret&b", ["one", "two"], headers=secrets)
        assert viewer.selected_subprotocol == "two"
        for message in messages:
            await viewer.write_message(message, binary=isinstance(message, bytes))
            assert await viewer.read_message() == message
        viewer.close()
        viewer = await dial_page(proxied, "greets")
        assert viewer.selected_subprotocol is None
        assert await viewer.read_message() == "hello"
        viewer.close()

    run(talk())
    (path, sent), _ = Page.seen
    assert path == "/echo?a=%2F%22&b" and "secret" not in str(dict(sent))


def test_either_side_closes(proxied):
    """Codes and reasons reach the other side; a connection that is cut ends the other"""

    async def leave():
        viewer = await dial_page(proxied, "leaves")
        assert await viewer.read_message() is None
        assert (viewer.close_code, viewer.close_reason) == (4321, "enough")
        viewer = await dial_page(proxied, "drops")
        assert await viewer.read_message() is None
        assert viewer.close_code is None
        Page.codes.clear()
        viewer = await dial_page(proxied, "echo")
        viewer.close(4000, "bye")
        assert await viewer.read_message() is None
        viewer = await dial_page(proxied, "echo")
        viewer.protocol.stream.close()

    run(leave())
    eventually(lambda: len(Page.codes) == 2, message="the worker's side stays")
    assert sorted(Page.codes, key=str) == [(4000, "bye"), (None, None)]


def test_only_workers(proxied):
    """A port where no worker's dashboard is, another host, the scheduler, no WebSocket there: refused, nothing is dialled"""
    base = proxied.base
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        nobody.settimeout(0.2)
        port = nobody.getsockname()[1]
        paths = [f"{port}/127.0.0.1/x", f"{Page.port}/localhost/x", f"{proxied.scheduler.port}/127.0.0.1/x"]
        for path in [*paths, "x", "1/", f"{Page.port}/127.0.0.1@127.0.0.1:{port}/x"]:
            assert refusal(base, f"/deep/proxy/{path}") == 404, path
        with pytest.raises(TimeoutError):
            nobody.accept()
    page = f"/deep/proxy/{Page.port}/127.0.0.1"
    stock = proxied.infos()["stock"]["services"]["dashboard"]
    assert refusal(base, f"{page}/lies/x") == 502
    assert refusal(base, f"/deep/proxy/{stock}/127.0.0.1/health") == 502
    assert refusal(base, f"{page}/{'x' * 3000}") == 400
    with contextlib.closing(http.client.HTTPConnection(base.removeprefix("http://"), timeout=60)) as old:
        old.request("GET", f"{page}/echo", headers={**UPGRADE, "Sec-WebSocket-Version": "12"})
        assert old.getresponse().status == 400


def test_a_slow_viewer(proxied):
    """Who does not read fills nobody's memory, and gets everything when it reads again"""
    observer = child_of(proxied.scheduler.pid)

    def resident():
        return int(Path(f"/proc/{observer}/statm").read_text().split()[1]) * 4096

    before = resident()
    Page.sent = 0
    with contextlib.closing(http.client.HTTPConnection(proxied.base.removeprefix("http://"), timeout=60)) as connection:
        connection.request("GET", f"/deep/proxy/{Page.port}/127.0.0.1/floods", headers=UPGRADE)
        viewer = connection.sock
        eventually(lambda: Page.sent > 0, message="it was not connected")
        seen = -1
        while seen != Page.sent:  # until nobody takes more
            seen = Page.sent
            time.sleep(0.3)
        assert resident() - before < (16 << 20)
        size = 0
        while size < FLOODS * len(FLOOD):
            part = viewer.recv(1 << 20)
            assert part
            size += len(part)
    eventually(lambda: Page.open_count == 0, message="the worker's side stays")


def test_not_too_many(proxied):
    """64 at a time; when one goes, another may come"""

    async def fill():
        viewers = [await dial_page(proxied, "echo") for _ in range(64)]
        with pytest.raises(HTTPClientError) as error:
            await dial_page(proxied, "echo")
        assert error.value.code == 503
        for viewer in viewers:
            viewer.close()
            assert await viewer.read_message() is None

    run(fill())

    def comes():
        with contextlib.suppress(HTTPClientError):
            run(one())
            return True
        return False

    async def one():
        (await dial_page(proxied, "echo")).close()

    eventually(comes, message="the places stay taken")


def test_origin_and_token():
    """With a token, pages of other sites are refused, and so is who has none; before anything is said of workers"""
    with contextlib.closing(Cluster(env={**ON, "DASK_CASK__DASHBOARD__TOKEN": "s3cret"})) as cluster:
        base, path = base_of(cluster), "/proxy/1/127.0.0.1/x"
        assert refusal(base, path) == 401
        assert refusal(base, path + "?token=wrong") == 401
        assert refusal(base, path + "?token=s3cret", headers={"Origin": "http://elsewhere"}) == 403
        assert refusal(base, path + "?token=s3cret", headers={"Origin": base}) == 404


def test_not_with_tls(make_cluster, certificate):
    """A dashboard with TLS says that it cannot, and serves on"""
    cert, key = certificate
    cluster = make_cluster(env={**ON, TLS + "CERT": cert, TLS + "KEY": key})
    trusted = ssl.create_default_context(cafile=cert)
    for path, headers, status in (("/proxy/1/127.0.0.1/x", UPGRADE, 501), ("/health", {}, 200)):
        address = base_of(cluster).removeprefix("http://")
        with contextlib.closing(http.client.HTTPSConnection(address, timeout=60, context=trusted)) as connection:
            connection.request("GET", path, headers=headers)
            assert connection.getresponse().status == status
