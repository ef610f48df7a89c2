"""Who may look at the dashboard: TLS, origins, the token; and that nothing is changed by a request that another site can make."""

from __future__ import annotations

import asyncio
import http.client
import json
import ssl
import urllib.error
import urllib.request

import dask
import pytest
from distributed import Client
from harness import KIND
from observer_stock import get
from test_observer import ON, base_of, connect, read_frame
from tornado.httpclient import HTTPRequest
from tornado.websocket import websocket_connect

pytestmark = pytest.mark.skipif(KIND != "cask", reason="stock has no observer")

TLS = "DASK_DISTRIBUTED__SCHEDULER__DASHBOARD__TLS__"
ORIGINS = "DASK_DISTRIBUTED__SCHEDULER__DASHBOARD__BOKEH_APPLICATION__ALLOW_WEBSOCKET_ORIGIN"


def test_https_and_wss(make_cluster, certificate):
    """distributed.scheduler.dashboard.tls: pages, JSON and the WebSocket, with a token's cookie that stays with TLS"""
    cert, key = certificate
    settings = {TLS + "CERT": cert, TLS + "KEY": key, "DASK_CASK__DASHBOARD__TOKEN": "open-sesame"}
    cluster = make_cluster(env={**ON, **settings})
    base = base_of(cluster).replace("http:", "https:")
    trusted = ssl.create_default_context(cafile=cert)

    def ask(path, **headers):
        request = urllib.request.Request(base + path, headers={"Authorization": "Bearer open-sesame", **headers})
        with urllib.request.urlopen(request, timeout=60, context=trusted) as answer:
            return answer.headers, answer.read()

    assert ask("/health")[1] == b"ok"
    assert json.loads(ask("/json/counts.json")[1])["workers"] == 0
    assert b"<script" in ask("/status", Accept="text/html")[1]
    cookie = ask("/status?token=open-sesame", Authorization="")[0]["Set-Cookie"]
    assert "; Secure" in cookie and "; HttpOnly" in cookie
    with pytest.raises(urllib.error.URLError, match="CERTIFICATE_VERIFY_FAILED"):
        urllib.request.urlopen(base + "/health", timeout=60)

    async def watch(**headers):
        url = base.replace("https", "wss") + "/api/cask/v1/live"
        socket = await websocket_connect(HTTPRequest(url, headers=headers, ca_certs=cert, connect_timeout=60))
        await socket.write_message('{"sub": "summary", "id": 1}')
        frame = read_frame(await asyncio.wait_for(socket.read_message(), 60))
        socket.close()
        return frame

    assert asyncio.run(watch(Cookie=cookie.partition(";")[0], Origin=base))["channel"] == "summary"
    with pytest.raises(Exception, match="403|401|closed"):
        asyncio.run(watch(Origin=base))


def test_plain_http_is_no_tls(make_cluster, certificate):
    """Who speaks without TLS to a port with it gets nothing, and the others their pages"""
    cert, key = certificate
    cluster = make_cluster(env={**ON, TLS + "CERT": cert, TLS + "KEY": key})
    base = base_of(cluster)
    try:
        status = get(base + "/json/counts.json")[0]
    except (OSError, http.client.HTTPException):  # it hung up
        status = None
    assert status != 200
    trusted = ssl.create_default_context(cafile=cert)
    with urllib.request.urlopen(base.replace("http", "https") + "/health", timeout=60, context=trusted) as answer:
        assert answer.read() == b"ok"


def test_the_link_says_https(make_cluster, certificate):
    cert, key = certificate
    cluster = make_cluster(env={**ON, TLS + "CERT": cert, TLS + "KEY": key})
    with dask.config.set({"distributed.scheduler.dashboard.tls.cert": cert}), Client(cluster.address, timeout=30) as client:
        assert client.dashboard_link == base_of(cluster).replace("http", "https") + "/status"


@pytest.mark.parametrize(
    ("rules", "token", "origin", "allowed"),
    [
        ('["*"]', "", "http://elsewhere.example", True),
        ('["hub.example:8000"]', "", "https://hub.example:8000", True),
        ('["hub.example:8000"]', "", "https://hub.example:8001", False),
        ('["hub.example"]', "", "http://hub.example.evil", False),
        ('["hub.example"]', "", None, True),
        ('["hub.example"]', "", "null", False),
        ('["*"]', "open-sesame", "http://elsewhere.example", False),
        ('["hub.example"]', "open-sesame", "http://hub.example", True),
    ],
)
def test_origins(make_cluster, rules, token, origin, allowed):
    """Which sites' pages may open a WebSocket; programs send no origin"""
    cluster = make_cluster(env={**ON, ORIGINS: rules, "DASK_CASK__DASHBOARD__TOKEN": token})
    base = base_of(cluster)
    headers = {} if origin is None else {"Origin": origin}
    if token:
        headers["Authorization"] = f"Bearer {token}"

    async def knock(path):
        try:
            (await connect(base, path, **headers)).close()
        except Exception as error:
            assert "40" in str(error) or "closed" in str(error), error
            return False
        return True

    assert asyncio.run(knock("/api/cask/v1/live")) == allowed
    assert asyncio.run(knock("/eventstream")) == allowed


def test_nothing_is_changed_by_default(make_cluster):
    """No POST does anything, whatever the path, where nobody has switched that on"""
    cluster = make_cluster("a", env=ON)
    base = base_of(cluster)
    paths = json.loads(get(base + "/sitemap.json")[2])["paths"]
    actions = json.loads(get(base + "/api/cask/v1/actions")[2])
    paths += [f"/api/cask/v1/actions/{name}" for name in (*actions["actions"], "restart", "retire", "cancel")]
    paths += ["/api/v1/retire_workers", "/api/cask/v1/summary"]
    for path in paths:
        request = urllib.request.Request(
            base + path.replace("(.*)", "x"), data=b'{"workers": [], "n": 1}', headers={"Content-Type": "application/json"}
        )
        with pytest.raises(urllib.error.HTTPError) as refused:
            urllib.request.urlopen(request, timeout=60)
        assert refused.value.code in (400, 403, 404, 405), path
    assert not actions["enabled"]
    assert set(cluster.addresses()) == {"a"}
