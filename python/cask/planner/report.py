"""``performance_report``: the observer's file, as it makes it; where no observer runs, stock's way."""

from __future__ import annotations

import json
import logging
import urllib.parse

import dask.config
from tornado.httpclient import AsyncHTTPClient, HTTPRequest

logger = logging.getLogger("distributed.scheduler")

PLACE = '<script type="application/json" id="code">null</script>'
SECONDS = 60


class NoReport(Exception):
    """There is no observer, or it does not answer."""


def request(url: str) -> HTTPRequest:
    token = dask.config.get("cask.dashboard.token", None)
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    # The other end is on this machine, and its certificate is for other names.
    return HTTPRequest(url, headers=headers, request_timeout=SECONDS, follow_redirects=False, validate_cert=False)


async def root(client: AsyncHTTPClient, scheme: str, hosts: list[str], port: int) -> str:
    """Where the dashboard is, with its prefix: it may listen at one address only."""
    for host in hosts:
        base = f"{scheme}://{host}:{port}"
        try:
            answer = await client.fetch(request(f"{base}/health"), raise_error=False)
            if answer.code == 200:
                return base
            front = await client.fetch(request(f"{base}/"), raise_error=False)
        except OSError:
            continue
        if (where := front.headers.get("Location", "")).endswith("/status"):
            return urllib.parse.urljoin(f"{base}/", where.removesuffix("/status"))
    raise NoReport(f"nobody answers at port {port} of {', '.join(hosts)}")


async def fetch(identity: dict, start: float, code: str) -> str:
    port = identity["services"].get("dashboard")
    if port is None:
        raise NoReport("there is no dashboard")
    tls = dask.config.get("distributed.scheduler.dashboard.tls.cert", None)
    netloc = urllib.parse.urlsplit(identity["address"]).netloc
    hosts = ["127.0.0.1", *([netloc.rpartition(":")[0]] if ":" in netloc else []), "[::1]"]
    client = AsyncHTTPClient(force_instance=True)
    try:
        base = await root(client, "https" if tls else "http", hosts, port)
        answer = await client.fetch(request(f"{base}/api/cask/v1/report.html?since={start:.6f}"), raise_error=False)
    except OSError as error:
        raise NoReport(str(error)) from error
    finally:
        client.close()
    if answer.code != 200:
        raise NoReport(f"it answers {answer.code}: {answer.body[:200].decode(errors='replace')}")
    page = answer.body.decode()
    return page.replace(PLACE, PLACE.replace("null", json.dumps(code).replace("<", "\\u003c")), 1)


async def performance_report(identity: dict, start: float, code: str) -> str | None:
    """The file, or None: it is to be made in stock's way."""
    try:
        return await fetch(identity, start, code)
    except NoReport as error:
        if identity["services"].get("dashboard") is not None:
            logger.warning("The report is drawn without the dashboard's process: %s", error)
        return None
