"""The report: one file without the network, from the dashboard's address and from stock's performance_report."""

from __future__ import annotations

import base64
import gzip
import json
import re
import shlex
import subprocess

import pytest
from distributed import Client, performance_report, wait

from harness import KIND, ROOT, SCHEDULER_CMD, Cluster, eventually
from observer_stock import get
from tasks import inc
from test_observer import ON, api, base_of, raiser

pytestmark = [pytest.mark.skipif(KIND != "cask", reason="stock has no observer"), pytest.mark.timeout(300)]  # a loaded machine


@pytest.fixture(scope="module")
def cluster():
    made = Cluster(env=ON)
    made.start_workers("alice", nthreads=2)
    yield made
    made.close()


@pytest.fixture
def client(cluster):
    with Client(cluster.address, timeout=60) as client:
        yield client


def unpack(html, name):
    packed = re.search(rf'id="{name}">([^<]*)<', html).group(1)
    return gzip.decompress(base64.b64decode(packed)).decode()


def report_of(cluster, query=""):
    status, headers, body = get(f"{base_of(cluster)}/api/cask/v1/report.html{query}", timeout=120)
    if status == 501:
        pytest.fail("built without the pages: make setup")
    assert status == 200 and headers["Content-Type"].startswith("text/html")
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    return body.decode()


def test_the_file_holds_what_the_pages_ask_for(cluster, client):
    good = client.map(inc, range(50))
    bad = client.submit(raiser, 7, key="raiser-1")
    wait([*good, bad])
    eventually(lambda: api(base_of(cluster), "summary")["runs"] >= 51, 60)
    html = report_of(cluster)
    data = json.loads(unpack(html, "data"))
    answers = data["answers"]
    assert answers["summary"]["runs"] == 51 and answers["summary"]["failures"] == 1
    assert [worker["name"] for worker in answers["workers?gone=1&limit=1000"]["workers"]] == ["alice"]
    (failure,) = answers["failures?limit=1000"]["failures"]
    assert "raise ValueError" in answers[f"failure?id={failure['id']}"]["traceback"]
    assert answers["findings"] == {**api(base_of(cluster), "findings"), "at": answers["findings"]["at"]}
    assert data["runs"]["total"] == 51 and sum(data["runs"]["erred"]) == 1
    columns = [data["runs"][name] for name in ("start", "duration", "worker", "lane", "prefix", "key")]
    assert {len(column) for column in columns} == {51}
    assert "raiser-1" in data["runs"]["key"]
    # As GET runs has them.
    listed = api(base_of(cluster), "runs", limit=1000)["runs"][::-1]
    assert [run["lane"] for run in listed] == data["runs"]["lane"]
    start = data["runs"]["since"]
    for run, step, duration in zip(listed, data["runs"]["start"], data["runs"]["duration"]):
        start += step
        assert abs(run["start"] - start / 1e6) < 1e-5 and abs(run["duration"] - duration / 1e6) < 1e-5


def test_nothing_comes_from_elsewhere(cluster):
    html = report_of(cluster)
    program = unpack(html, "program")
    outside = html.replace(re.search(r'id="data">([^<]*)<', html).group(1), "") + program
    names = {"http://www.w3.org", "https://www.speedscope.app"}  # of formats: nothing is fetched there
    assert set(re.findall(r"https?://[^\"'`\s)/]+", outside)) <= names
    assert not re.search(r"<link\b|<img\b|@import|\ssrc=", outside)


def test_a_browser_opens_it_without_a_network(cluster, tmp_path):
    (tmp_path / "report.html").write_text(report_of(cluster))
    script = ROOT / "web" / "test" / "open_report.mjs"
    done = subprocess.run(["node", script, tmp_path / "report.html"], capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert seen["title"] == "What went wrong" and seen["errors"] == [] and seen["asked"] == []
    assert {"Overview", "Task stream", "Workers", "Logs and events"} <= set(seen["pages"])
    assert "not 7" in seen["pages"]["What went wrong"] and "alice" in seen["pages"]["Workers"]


def test_command(cluster, client, tmp_path):
    """The exit code says whether anything failed; given the dashboard's URL, the scheduler is not asked"""
    wait(client.submit(raiser, 8, key="raiser-2"))
    eventually(lambda: api(base_of(cluster), "summary")["failures"] >= 1, 60)
    program = shlex.split(SCHEDULER_CMD)[0]

    def report(*words):
        return subprocess.run([program, "report", *words], capture_output=True, text=True, timeout=120, cwd=tmp_path)

    done = report(cluster.address, "-o", "run.html")
    assert (done.returncode, done.stderr) == (1, "")
    assert "failures" in done.stdout and '"data"' in (tmp_path / "run.html").read_text()
    done = report(base_of(cluster), "--format", "md")
    assert done.returncode == 1 and "## Failures" in done.stdout and "ValueError" in done.stdout
    done = report(cluster.address, "--format", "json")
    assert json.loads(done.stdout)["failures"][0]["type"] == "ValueError"
    assert "Failures" in report(cluster.address, "-o", "-", "--format", "text").stdout
    assert report(cluster.address, "--format", "pdf").returncode == 2


def test_a_window_of_time(cluster, client):
    wait(client.map(inc, range(100, 110)))
    at = client.run_on_scheduler(lambda: __import__("time").time())
    wait(client.map(inc, range(200, 207)))
    eventually(lambda: api(base_of(cluster), "runs", since=at)["runs"][6:], 60)
    data = json.loads(unpack(report_of(cluster, f"?since={at}"), "data"))
    assert data["runs"]["total"] == 7
    assert json.loads(unpack(report_of(cluster, "?since=1&until=2"), "data"))["runs"]["total"] == 0


def test_performance_report_of_a_stock_client(cluster, client, tmp_path):
    with performance_report(filename=str(tmp_path / "report.html")):
        client.gather(client.map(inc, range(300, 320)))
    html = (tmp_path / "report.html").read_text()
    data = json.loads(unpack(html, "data"))
    assert data["runs"]["total"] == 20
    code = re.search(r'id="code">([^<]*)<', html).group(1)
    assert "with performance_report" in json.loads(code)


def test_performance_report_below_a_prefix_with_a_token(make_cluster, tmp_path):
    token = {"DASK_CASK__DASHBOARD__TOKEN": "secret"}
    cluster = make_cluster("alice", scheduler_options=["--dashboard-prefix", "/some/where"], env={**ON, **token})
    with Client(cluster.address, timeout=60) as client:
        with performance_report(filename=str(tmp_path / "report.html")):
            client.submit(inc, 1).result()
    assert json.loads(unpack((tmp_path / "report.html").read_text(), "data"))["runs"]["total"] == 1
