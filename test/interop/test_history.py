"""What is kept of a cluster when everything is gone: nothing is lost by SIGKILL, and everything can be looked at afterwards.

One life is lived for all tests of the file: work, failures, a killed observer, a killed scheduler.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import json
import os
import pathlib
import signal
import sqlite3
import stat
import subprocess
import time
import urllib.parse

import pytest
from distributed import Client, wait
from harness import CASK_WORKER, KIND, Cluster, Process, eventually
from observer_stock import get
from tasks import inc
from test_observer import ON, api, base_of, child_of, connect, gone, receive

pytestmark = pytest.mark.skipif(KIND != "cask", reason="stock keeps no history")

CASK = CASK_WORKER.split()[0]
RUNS, SLOWED, FAILED = 300, 12, 40


def raiser(x):
    raise ValueError(f"not {x}")


def slowed(x, seconds):
    time.sleep(seconds)
    return x


def history(folder, *arguments, code=0):
    done = subprocess.run([CASK, "history", "--folder", str(folder), *arguments], capture_output=True, text=True, timeout=60)
    assert done.returncode == code, done.stdout + done.stderr
    return done.stdout


def as_json(folder, *arguments, code=0):
    return json.loads(history(folder, "--json", *arguments, code=code))


def work(cluster, seconds):
    with Client(cluster.address, timeout=20) as client:
        client.gather(client.map(inc, range(RUNS), key="counted"))
        client.gather(client.map(slowed, range(SLOWED), seconds=seconds, key="slowed"))
        failed = client.map(raiser, range(FAILED), key="failed")
        wait(failed)
        assert all(f.status == "error" for f in failed)


@dataclasses.dataclass
class Life:
    folder: pathlib.Path
    identity: str
    live: dict  # what the dashboard said last


def live_on(cluster, folder):
    """Its observer is killed, between and right after work; then the scheduler"""
    base = base_of(cluster)
    identity = cluster.ask("identity", n_workers=0)["id"]
    work(cluster, 0.01)
    for _ in range(2):
        first = eventually(lambda: child_of(cluster.scheduler.pid))
        os.kill(first, signal.SIGKILL)
        work(cluster, 0.01)
        eventually(lambda: child_of(cluster.scheduler.pid) not in (None, first), 30, "another runs")
    last = child_of(cluster.scheduler.pid)
    eventually(lambda: {"counted", "slowed", "failed"} <= {row["function"] for row in api(base, "activities")["activities"]}, 60, "heartbeats")
    live = {path: api(base, path, limit=1000) for path in PATHS}
    os.kill(cluster.scheduler.pid, signal.SIGKILL)
    eventually(lambda: gone(last), 30, "the observer has written and ended")
    return Life(folder, identity, live)


PATHS = ("summary", "workers", "groups", "prefixes", "runs", "failures", "logs", "graphs", "transfers", "activities")


WORKER_FIELDS = ("id", "address", "name", "host", "status", "nthreads", "pid", "added", "removed", "runs", "failures", "busy", "nanny", "local_directory")


@pytest.fixture(scope="module")
def life(tmp_path_factory):
    folder = tmp_path_factory.mktemp("history") / "kept"
    cluster = Cluster("--history", str(folder), env=ON)
    try:
        cluster.start_workers("a", nthreads=2)
        yield live_on(cluster, folder)
    finally:
        cluster.close()


def test_nothing_is_lost(life):
    """Two observers and then the scheduler ended by SIGKILL, in the middle of things"""
    (entry,) = as_json(life.folder, "ls")
    assert entry["id"] == life.identity and entry["state"] == "died" and "SIGKILL" in entry["reason"]
    assert entry["runs"] == 3 * (RUNS + SLOWED + FAILED) and entry["failures"] == 3 * FAILED
    assert entry["workers"] == 1 and not entry["open"]
    rows = as_json(life.folder, "sql", "SELECT prefix, count(*) AS n, count(DISTINCT key) AS keys FROM runs GROUP BY 1 ORDER BY 1")
    assert rows == [
        {"prefix": "counted", "n": 3 * RUNS, "keys": RUNS},
        {"prefix": "failed", "n": 3 * FAILED, "keys": FAILED},
        {"prefix": "slowed", "n": 3 * SLOWED, "keys": SLOWED},
    ]
    rows = as_json(life.folder, "sql", "SELECT count(*) AS n, count(DISTINCT text) AS texts FROM failed_tasks JOIN texts ON texts.id = exception")
    assert rows == [{"n": 3 * FAILED, "texts": FAILED}]


def test_files_are_the_users_own(life):
    (path,) = life.folder.iterdir()  # no journal is left beside it
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(life.folder.stat().st_mode) == 0o700
    with contextlib.closing(sqlite3.connect(path)) as file:  # by any SQLite, as documented
        assert file.execute("PRAGMA user_version").fetchone() == (3,)
        assert file.execute("SELECT sum(count) FROM run_chunks").fetchone() == (3 * (RUNS + SLOWED + FAILED),)
        documented = (pathlib.Path(__file__).parents[2] / "docs/history.md").read_text()
        for (table,) in file.execute("SELECT name FROM sqlite_master WHERE type = 'table'"):
            assert f"| `{table}` |" in documented


def test_show(life):
    shown = as_json(life.folder, "show")
    assert shown["run"]["id"] == life.identity and shown["run"]["lost"] == 0
    totals = [p["total"] for p in shown["prefixes"]]
    assert {p["name"] for p in shown["prefixes"]} == {"counted", "slowed", "failed"} and totals == sorted(totals, reverse=True)
    (failure,) = shown["failures"]
    assert failure["count"] == 3 * FAILED and failure["type"] == "ValueError" and "raiser" in failure["traceback"]
    text = history(life.folder, "show", "last")
    assert life.identity in text and "ValueError" in text and "slowed" in text


def test_sql_only_reads(life, tmp_path):
    for statement in ("DELETE FROM workers", "DROP TABLE runs", f"ATTACH '{tmp_path}/x.db' AS x", "SELECT nothing"):
        history(life.folder, "sql", statement, code=1)
    assert not (tmp_path / "x.db").exists()
    bounds = as_json(life.folder, "sql", "SELECT min(start) AS low, max(stop) AS high FROM runs")[0]
    middle = (bounds["low"] + bounds["high"]) / 2
    count = "SELECT count(*) AS n FROM runs WHERE "
    parts = [as_json(life.folder, "sql", f"{count} start {sign} {middle!r}")[0]["n"] for sign in ("<", ">=")]
    assert sum(parts) == 3 * (RUNS + SLOWED + FAILED)


@contextlib.contextmanager
def served(folder, *arguments):
    process = Process("history", [CASK, "history", "--folder", str(folder), "serve", "--dashboard-address", "127.0.0.1:0", *arguments])
    try:
        yield eventually(lambda: process.log_path.read_text().split()[1].removesuffix("/status"), 20)
    finally:
        process.close()


def without(rows, *fields):
    return [{name: value for name, value in row.items() if name not in fields} for row in rows]


def test_every_page_as_it_was(life):
    """What the dashboard gave when all lived, and what it gives of the file"""
    with served(life.folder) as base:
        for path in PATHS:
            now, then = api(base, path, limit=1000), life.live[path]
            if path == "summary":
                assert now["scheduler"]["state"] == "died" and "SIGKILL" in now["scheduler"]["reason"]
                assert {k: now[k] for k in ("runs", "failures", "cluster", "graphs")} == {k: then[k] for k in ("runs", "failures", "cluster", "graphs")}
            elif path == "runs":
                fields = ("start", "duration", "transfer", "deserialize", "disk")  # microseconds are kept
                assert without(now["runs"], *fields) == without(then["runs"], *fields)
                for a, b in zip(now["runs"], then["runs"]):
                    assert all(abs(a[f] - b[f]) < 2e-6 for f in fields)
            elif path in ("groups", "prefixes"):
                assert [(r["name"], r["runs"], r["failures"], r.get("duration")) for r in now[path]] == [
                    (r["name"], r["runs"], r["failures"], r.get("duration")) for r in then[path]
                ]
            elif path == "logs":
                assert now["logs"][-len(then["logs"]) :] == then["logs"] or now["logs"][: len(then["logs"])] == then["logs"]
            elif path == "activities":  # a heartbeat may have come after
                totals = [{(r["context"], r["function"], r["activity"], r["unit"]): r["total"] for r in one[path]} for one in (then, now)]
                assert all(totals[1][name] >= total for name, total in totals[0].items())
                seconds = sum(total for (_, function, _, unit), total in totals[1].items() if function == "slowed" and unit == "seconds")
                assert seconds >= SLOWED * 0.01  # of one of the three times at least
            elif path == "workers":
                assert [{f: row[f] for f in WORKER_FIELDS} for row in now[path]] == [{f: row[f] for f in WORKER_FIELDS} for row in then[path]]
            else:
                assert now[path] == then[path], path
        bounds = [run["start"] for run in life.live["runs"]["runs"]]
        stream = api(base, "stream", since=min(bounds) - 60, until=max(bounds) + 60, lanes="worker")
        assert sum(sum(lane["runs"]) for lane in stream["lanes"]) == 3 * (RUNS + SLOWED + FAILED)
        assert get(base + "/status", Accept="text/html")[0] == 200
        assert get(base + "/api/cask/v1/why?key=x")[0] == 503  # nobody is there to answer


def test_list_of_runs_and_no_way_out(life):
    with served(life.folder) as base:
        listed = api(base, "history")
        (entry,) = listed["history"]
        assert entry["id"] == life.identity and entry["this"] and listed["folder"] == str(life.folder)
        inner = f"{base}/{entry['href'].removesuffix('/status')}"
        assert api(inner, "summary")["cluster"]["id"] == life.identity
        assert api(inner, "failures")["total"] == 3 * FAILED
        assert entry["name"] in get(base + "/history")[2].decode()
        (life.folder.parent / "other.db").write_bytes((life.folder / f"{entry['name']}.db").read_bytes())
        for name in ("../other", "..%2fother", "%2e%2e/other", "other", f"{entry['name']}.db", "%00", "a" * 300):
            assert get(f"{base}/history/{name}/api/cask/v1/summary")[0] in (400, 403, 404), name
        path = urllib.parse.quote(str(life.folder.parent / "other"), safe="")
        assert get(f"{base}/history/{path}/api/cask/v1/summary")[0] == 404


def test_the_live_channel_of_a_run(life):
    """Its pages get over the WebSocket what a living cluster's would: all of it at once, and that it is over"""

    async def listen(base):
        ws = await connect(base)
        wanted = ("summary", "workers", "groups", "stream", "failures", "logs")
        for number, name in enumerate(wanted, 1):
            await ws.write_message(json.dumps({"sub": name, "id": number, "p": {"keys": True}}))
        frames = {}
        while set(frames) < set(wanted):
            frame = await receive(ws, lambda f: True)
            frames.setdefault(frame["channel"], frame)
        ws.close()
        return frames

    with served(life.folder) as base:
        (entry,) = api(base, "history")["history"]
        for root in (base, f"{base}/history/{entry['name']}"):
            frames = asyncio.run(listen(root))
            assert list(frames["summary"]["columns"][0]) == [2]  # it died
            assert list(frames["failures"]["columns"][5]) == [3 * FAILED]
            names = {row["name"] for row in life.live["groups"]["groups"]}
            assert set(frames["groups"]["columns"][1]) == names
            assert frames["stream"]["rows"] == 1000
            assert [key for key in frames["stream"]["columns"][11]][::-1] == [run["key"] for run in life.live["runs"]["runs"]]


def test_top_and_report_of_a_run(life):
    """The terminal and the report, as of a living cluster; nobody serves the run any more when they end"""
    path = str(life.folder / f"{as_json(life.folder, 'ls')[0]['name']}.db")

    def run(*arguments, code):
        done = subprocess.run([CASK, *arguments], capture_output=True, text=True, timeout=60)
        assert done.returncode == code, done.stdout + done.stderr
        return done

    whole = json.loads(run("top", "--history", path, "--json", code=0).stdout)
    assert whole["summary"]["scheduler"]["state"] == "died"
    assert {row["name"] for row in whole["groups"]} == {row["name"] for row in life.live["groups"]["groups"]}
    shown = run("top", "--history", path, "--once", code=0).stdout
    assert "died" in shown and "ValueError" in shown
    report = run("report", "--history", path, "--format", "text", code=1).stdout  # there are failures
    assert life.identity in report and "ValueError" in report
    assert "nosuch.db" in run("report", "--history", str(life.folder / "nosuch.db"), code=1).stderr
    assert path not in subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True).stdout


def test_trace_of_chrome(life, tmp_path):
    """Trace Event Format: what its description asks of each kind of event"""
    history(life.folder, "trace", "-o", str(tmp_path / "x.json"))
    events = json.loads((tmp_path / "x.json").read_text())["traceEvents"]
    runs = [e for e in events if e["ph"] == "X" and e["cat"] == "compute"]
    assert len(runs) == 3 * (RUNS + SLOWED + FAILED)
    for event in events:
        assert isinstance(event["name"], str) and isinstance(event["pid"], int) and isinstance(event["tid"], int)
        assert event["ph"] in "XMi"
        if event["ph"] == "X":
            assert event["ts"] > 0 and event["dur"] >= 0 and isinstance(event["args"], dict)
        elif event["ph"] == "i":
            assert event["s"] in ("g", "p", "t") and event["ts"] > 0
        else:
            assert event["name"] == "process_name" and event["args"]["name"] == "a"
    assert {e["args"]["status"] for e in runs if e["name"] == "failed"} == {"error"}


def test_trace_of_speedscope(life):
    """Its schema: frames by index, events in order and nested"""
    file = json.loads(history(life.folder, "trace", "--format", "speedscope"))
    assert file["$schema"] == "https://www.speedscope.app/file-format-schema.json"
    frames = [frame["name"] for frame in file["shared"]["frames"]]
    assert sorted(frames) == ["counted", "failed", "slowed"]
    opened = 0
    for profile in file["profiles"]:
        assert profile["type"] == "evented" and profile["unit"] == "seconds" and profile["name"]
        last, stack = profile["startValue"], []
        for event in profile["events"]:
            assert event["at"] >= last - 1e-6 and 0 <= event["frame"] < len(frames)
            last = event["at"]
            if event["type"] == "O":
                stack.append(event["frame"])
                opened += 1
            else:
                assert event["type"] == "C" and stack.pop() == event["frame"]
        assert stack == [] and profile["endValue"] >= last - 1e-6
    assert opened == 3 * (RUNS + SLOWED + FAILED)


def test_compare(life, make_cluster):
    """The same work, of which one part sleeps longer: that is named, and the exit code says slower"""
    cluster = make_cluster("a", env=ON, nthreads=2, scheduler_options=["--history", str(life.folder)])
    observer = eventually(lambda: child_of(cluster.scheduler.pid))
    work(cluster, 0.5)
    cluster.scheduler.kill(signal.SIGTERM)
    cluster.scheduler.wait()
    eventually(lambda: gone(observer), 30, "the observer has written and ended")
    entries = as_json(life.folder, "ls")
    assert [entry["state"] for entry in entries] == ["ended", "died"]
    compared = as_json(life.folder, "compare", "2", "last", code=1)
    assert compared["slower"] and compared["earlier"]["exact"] and compared["later"]["exact"]
    worst = compared["prefixes"][0]
    assert worst["prefix"] == "slowed" and worst["cause"] == "each takes longer"
    assert worst["later"]["p50"] >= 0.5 and worst["earlier"]["runs"] == 3 * SLOWED
    for line in compared["prefixes"]:
        total = line["later"]["total"] + line["later"]["transfer"] - line["earlier"]["total"] - line["earlier"]["transfer"]
        assert abs(line["difference"] - total) < 1e-6
    assert "each takes longer" in history(life.folder, "compare", code=1)
    history(life.folder, "compare", "last", "2", code=0)
    history(life.folder, "compare", "nothing", "2", code=2)
    tidied = as_json(life.folder, "gc", "--max-size", "1", "--dry-run")
    assert tidied["removed"] == 2 and len(as_json(life.folder, "ls")) == 2


def test_off(make_cluster, tmp_path):
    cluster = make_cluster(env={**ON, "XDG_STATE_HOME": str(tmp_path)}, scheduler_options=["--history", "off"])
    base = base_of(cluster)
    cluster.ask("log_event", topic="x", msg=1)
    eventually(lambda: api(base, "events", topic="x")["events"], 20)
    observer = child_of(cluster.scheduler.pid)
    cluster.scheduler.kill(signal.SIGTERM)
    cluster.scheduler.wait()
    eventually(lambda: gone(observer), 20)
    assert list(tmp_path.iterdir()) == []


def test_a_folder_where_nothing_can_be_kept(make_cluster, tmp_path):
    (tmp_path / "file").write_text("in the way")
    cluster = make_cluster(env=ON, scheduler_options=["--history", str(tmp_path / "file" / "kept")])
    assert api(base_of(cluster), "summary")["scheduler"]["state"] == "running"
    eventually(lambda: "No history is kept" in cluster.scheduler.log_path.read_text(), 20)


def test_what_cannot_be_read(tmp_path):
    (tmp_path / "newer.db").write_bytes(b"SQLite format 3\0" + b"\0" * 4080)
    history(tmp_path, "show", "last", code=1)
    assert history(tmp_path, "ls").startswith("No runs in")
    history(tmp_path / "nowhere", "ls", code=1)
    history(tmp_path, "show", "1", "2", code=2)
    history(tmp_path, "dance", code=2)
