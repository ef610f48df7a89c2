"""GET /proxy/PORT/HOST/PATH: the dashboards of workers that are registered, within limits, and nothing else."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import socket
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from distributed import Worker
from harness import KIND, Cluster
from test_observer import ON

pytestmark = pytest.mark.skipif(KIND != "cask", reason="stock proxies with jupyter-server-proxy")

MARKUP = b"<script>parent.document.cookie</script>"


class Pages(BaseHTTPRequestHandler):
    """What a worker that means no good may answer"""

    seen: list = []

    def do_GET(self):
        self.seen.append((self.path, dict(self.headers)))
        path = self.path.partition("?")[0]
        answer = getattr(self, f"page_{path.strip('/').replace('-', '_')}", None)
        if answer is None:
            self.send(404, b"no such page", "text/plain")
        else:
            answer()

    def send(self, status, body, content_type, **headers):
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)
        self.end_headers()
        self.wfile.write(body)

    def page_status(self):
        self.send(200, MARKUP, "text/html", Set_Cookie="cask-token=stolen", X_Evil="1")

    def page_odd(self):
        self.send(200, MARKUP, "text/x-whatever")

    def page_binary(self):
        self.send(200, bytes(range(256)) * 4000, "application/x-thing")

    def page_away(self):
        self.send(302, b"", "text/html", Location="http://127.0.0.1:1/secret")

    def page_inside(self):
        self.send(302, b"", "text/html", Location="/status")

    def page_endless(self):
        self.send_response(200)
        self.end_headers()
        with contextlib.suppress(OSError):
            while True:
                self.wfile.write(bytes(1 << 20))

    def page_cut(self):
        self.send_response(200)
        self.send_header("Content-Length", "1000")
        self.end_headers()
        self.wfile.write(b"half")

    def log_message(self, *arguments):
        pass


class Dashing(Worker):
    """A stock worker that says where its dashboard is"""

    @property
    def service_ports(self):
        return {"dashboard": Pages.port}


@pytest.fixture(scope="module")
def proxied():
    """A scheduler; a worker with a hostile dashboard; one with a dashboard of stock's; a port of nobody's"""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Pages)
    Pages.port = server.server_address[1]
    threading.Thread(target=server.serve_forever, daemon=True).start()
    cluster = Cluster("--dashboard-prefix", "/deep", env=ON)
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()

    async def start():
        return await Dashing(cluster.address, name="evil", dashboard=False, host="127.0.0.1")

    try:
        cluster.start_workers("stock", options=["--dashboard"])
        worker = asyncio.run_coroutine_threadsafe(start(), loop).result(60)
        yield cluster
        asyncio.run_coroutine_threadsafe(worker.close(), loop).result(60)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
        cluster.close()
        server.shutdown()
        server.server_close()


def fetch(cluster, path, method="GET", prefix="/deep", headers=None):
    port = cluster.ask("identity", n_workers=0)["services"]["dashboard"]
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    with contextlib.closing(connection):
        connection.request(method, prefix + path, headers=headers or {})
        answer = connection.getresponse()
        return answer.status, {k.title(): v for k, v in answer.headers.items()}, answer.read()


def dashboard_of(cluster, name):
    return cluster.infos()[name]["services"]["dashboard"]


def test_stock_worker(proxied):
    """A stock worker's pages and metrics are reached through the scheduler's dashboard; its page there links to them"""
    port = dashboard_of(proxied, "stock")
    status, headers, body = fetch(proxied, f"/proxy/{port}/127.0.0.1/health")
    assert (status, body) == (200, b"ok")
    assert headers["Content-Type"].startswith("text/plain")
    assert b"dask_worker_" in fetch(proxied, f"/proxy/{port}/127.0.0.1/metrics")[2]
    assert b"Bokeh" in fetch(proxied, f"/proxy/{port}/127.0.0.1/status")[2]
    page = fetch(proxied, f"/info/worker/{proxied.addresses()['stock'].replace('/', '%2F')}.html?plain=1")[2].decode()
    assert f'href="../../proxy/{port}/127.0.0.1/status"' in page


def test_only_workers(proxied):
    """A port where no worker's dashboard is, another host, the scheduler itself, nonsense: nothing is fetched"""
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        nobody.settimeout(0.2)
        port = nobody.getsockname()[1]
        paths = [f"{port}/127.0.0.1/x", f"{Pages.port}/localhost/x", f"{Pages.port}/127.0.0.2/x"]
        paths += [f"{proxied.scheduler.port}/127.0.0.1/x", "", "x", "1/", "99999/127.0.0.1/x", f"{port}//x"]
        paths += [f"{Pages.port}x/127.0.0.1/x", f"{Pages.port}/127.0.0.1@127.0.0.1:{port}/x"]
        for path in paths:
            assert fetch(proxied, f"/proxy/{path}")[0] == 404, path
        with pytest.raises(TimeoutError):
            nobody.accept()
    assert fetch(proxied, f"/proxy/{Pages.port}/127.0.0.1/status", "POST")[0] in (404, 405)


def test_answers_are_others(proxied):
    """A worker's page gets neither cookies nor token, sets none, and runs outside of the dashboard's origin"""
    Pages.seen.clear()
    base = f"/proxy/{Pages.port}/127.0.0.1"
    secrets = {"Cookie": "cask-token=secret", "Authorization": "Bearer secret"}
    status, headers, body = fetch(proxied, f"{base}/status?token=secret&a=%2F%22&b", headers=secrets)
    assert (status, body) == (200, MARKUP)
    ((path, sent),) = Pages.seen
    assert path == "/status?a=%2F%22&b" and "secret" not in str(sent)
    assert "Set-Cookie" not in headers and "X-Evil" not in headers
    assert headers["Content-Security-Policy"].startswith("sandbox allow-scripts;")
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert fetch(proxied, f"{base}/odd")[1]["Content-Type"].startswith("text/plain")
    status, headers, body = fetch(proxied, f"{base}/binary")
    assert (headers["Content-Type"], body) == ("application/octet-stream", bytes(range(256)) * 4000)
    assert fetch(proxied, f"{base}/nothing")[0] == 404
    assert fetch(proxied, f"{base}/status", "HEAD")[2] == b""


def test_redirects_stay(proxied):
    """A redirect within the worker's pages is kept there; one elsewhere is not followed, nor told"""
    base = f"/proxy/{Pages.port}/127.0.0.1"
    status, headers, _ = fetch(proxied, f"{base}/away")
    assert status == 302 and "Location" not in headers
    status, headers, _ = fetch(proxied, f"{base}/inside")
    assert status == 302 and headers["Location"] == f"/deep{base}/status"


def test_limits(proxied):
    """An answer without end, one that is cut off: an error, and the dashboard serves on"""
    base = f"/proxy/{Pages.port}/127.0.0.1"
    status, _, body = fetch(proxied, f"{base}/endless")
    assert status == 502 and b"too long" in body
    assert fetch(proxied, f"{base}/cut")[0] == 502
    assert fetch(proxied, f"{base}/{'x' * 3000}")[0] in (414, 502)
    assert fetch(proxied, "/health")[0] == 200
