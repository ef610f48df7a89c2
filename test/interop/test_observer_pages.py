"""The pages of web/ as the observer serves them: to browsers, at every address, behind a prefix, and nothing else to others."""

import gzip
import re
import urllib.error
import urllib.request

import pytest
from harness import KIND, Scheduler, ask

pytestmark = pytest.mark.skipif(KIND != "cask", reason="cask's own pages")
ON = {"DASK_CASK__DASHBOARD__PROCESS": "True", "DASK_CASK__DASHBOARD__LINGER": "0s"}
BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8", "Accept-Encoding": "gzip"}
STOCK = "status workers tasks system profile profile-server graph groups gpu hardware shuffle stealing events counters exceptions"
OWN = "problems memory transfers scheduler logs stacks why why/inc-1 failure/1 individual-task-stream individual-progress"
DEEP = "info/main/workers.html info/main/exceptions.html info/main/logs.html info/task/%28%27a%2Fb%27%2C%203%29.html info/worker/tcp%3A%2F%2F10.0.0.1%3A1.html"


@pytest.fixture(scope="module")
def base():
    scheduler = Scheduler("--dashboard-prefix", "/x/y", env=ON)
    port = ask(scheduler.address, "identity", n_workers=0)["services"]["dashboard"]
    yield f"http://127.0.0.1:{port}/x/y/"
    scheduler.close()


def get(url, headers=BROWSER):
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers), timeout=10) as answer:
        return answer.headers, answer.read()


@pytest.fixture(scope="module", autouse=True)
def built(base):
    try:
        get(base + "problems")
    except urllib.error.HTTPError:
        pytest.skip("built without the pages (make setup, then build anew)")


@pytest.mark.parametrize("path", f"{STOCK} {OWN} {DEEP}".split())
def test_a_browser_gets_a_page_that_finds_its_way_back(base, path):
    headers, body = get(base + path)
    assert headers["Content-Type"].startswith("text/html")
    assert headers["Content-Security-Policy"] == "default-src 'self'; frame-ancestors *"
    assert "X-Frame-Options" not in headers
    way_back = re.search(rb'<base href="([./]+)">', body).group(1).decode()
    assert way_back == {0: "./", 1: "../", 2: "../../"}[path.count("/")]


def test_files_of_the_pages_are_there_and_may_be_kept(base):
    _, body = get(base + "status")
    names = re.findall(r'(?:href|src)="(static/[^"]+)"', body.decode())
    assert len(names) == 3
    for name in names:
        headers, data = get(base + name)
        assert headers["Content-Encoding"] == "gzip"
        assert "immutable" in headers["Cache-Control"]
        assert len(gzip.decompress(data)) > 100
    with pytest.raises(urllib.error.HTTPError, match="404"):
        get(base + "static/none.js")


def test_programs_get_what_works_without_a_browser(base):
    for headers, path in ((({"Accept": "*/*"}), "status"), (BROWSER, "status?plain=1")):
        _, body = get(base + path, headers)
        assert b"<script" not in body
        assert b"<table" in body or b"<h1" in body


def test_data_is_no_page(base):
    assert get(base + "health")[1] == b"ok"
    assert get(base + "individual-plots.json")[0]["Content-Type"].startswith("application/json")
    assert get(base + "json/counts.json")[0]["Content-Type"].startswith("application/json")
