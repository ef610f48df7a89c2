"""The dashboard's process: stock's URLs, JSON and metrics, its own interface for browsers, its life and the scheduler's death.

What stock answers was recorded by observer_stock.py.
"""

from __future__ import annotations

import asyncio
import gzip
import json
import os
import pathlib
import re
import signal
import socket
import struct
import urllib.parse
import urllib.request

import dask
import pytest
from distributed import Client
from harness import KIND, eventually, free_port
from observer_stock import GOLDEN, answers_of, families, get, play
from tasks import inc
from test_cli import cask
from tornado.httpclient import HTTPRequest
from tornado.websocket import websocket_connect

pytestmark = pytest.mark.skipif(KIND != "cask", reason="stock has no observer")

ON = {"DASK_CASK__DASHBOARD__PROCESS": "True", "DASK_CASK__DASHBOARD__LINGER": "0s"}  # tests end schedulers by SIGKILL
MARKUP = "<img src=x onerror=alert(1)>"


def base_of(cluster):
    port = cluster.ask("identity", n_workers=0)["services"]["dashboard"]
    return f"http://127.0.0.1:{port}"


def api(base, path, **arguments):
    query = urllib.parse.urlencode(arguments)
    status, headers, body = get(f"{base}/api/cask/v1/{path}?{query}")
    assert status == 200, (status, body)
    assert headers["Content-Type"].startswith("application/json")
    return json.loads(body)


def raiser(x):
    raise ValueError(f"not {x}")


def lonely(x):
    return 10 // x


@pytest.fixture(scope="module")
def observed():
    """A scheduler with a dashboard and a worker, and a client; what one test leaves does not disturb another"""
    from harness import Cluster

    cluster = Cluster(env=ON)
    try:
        cluster.start_workers("a", nthreads=2)
        yield cluster
    finally:
        cluster.close()


@pytest.fixture
def base(observed):
    return base_of(observed)


@pytest.fixture
def client(observed):
    with Client(observed.address, timeout=10) as client:
        yield client


# ---- as stock ------------------------------------------------------------------------------------


def test_answers_as_stock(observed, base, client):
    stock = json.loads(GOLDEN.read_text())
    semaphore, done, failed, worker = play(client)
    ours = answers_of(base, worker, str(done.key))
    assert ours["statuses"] == {**stock["statuses"], "/sitemap.json": 200}  # stock's fails
    assert ours["counts"] == stock["counts"]
    assert ours["plots"] == stock["plots"]
    assert ours["health"] == stock["health"]
    for path, location in stock["locations"].items():
        assert urllib.parse.urljoin(path, ours["locations"][path]) == urllib.parse.urljoin(path, location)
    for name, family in stock["families"].items():
        mine = ours["families"][name]
        assert mine["type"] == family["type"], name
        assert set(mine["labels"]) >= set(family["labels"]), name
        assert set(mine["samples"]) >= set(family["samples"]), name


def test_numbers_of_metrics_and_counts(observed, base, client):
    futures = client.map(inc, range(10), key="counted")
    client.gather(futures)
    counts = json.loads(get(base + "/json/counts.json")[2])
    assert counts["workers"] == 1 and counts["cores"] == 2 and counts["memory"] >= 10
    assert counts["clients"] == 2  # and "fire-and-forget"
    text = get(base + "/metrics")[2].decode()
    assert 'dask_scheduler_tasks{state="memory"} 10.0' in text
    assert "dask_scheduler_workers_added_total 1.0" in text
    assert "dask_scheduler_clients 1.0" in text
    assert families(text)["cask_runs"]["type"] == "counter"
    identity = json.loads(get(base + "/json/identity.json")[2])
    assert identity["type"] == "Scheduler" and len(identity["workers"]) == 1


def test_waiting_data_is_counted(observed, base, client):
    from distributed import Event

    event = Event("observed-gate")
    gate = client.submit(lambda: event.wait(30), key="gate", pure=False)
    waiting = client.map(lambda i, x: x, range(5), [gate] * 5, key="behind")
    counts = eventually(
        lambda: (c := json.loads(get(base + "/json/counts.json")[2]))["waiting"] == 5 and c, 10, "five wait"
    )
    assert counts["waiting_data"] == 1
    event.set()
    client.gather(waiting)


@pytest.mark.seed("S187")
def test_where_the_dashboard_is(observed, base, client):
    port = client.scheduler_info()["services"]["dashboard"]
    assert client.dashboard_link == f"http://127.0.0.1:{port}/status"
    assert get(client.dashboard_link)[0] == 200


def test_every_path_of_the_sitemap_answers(base):
    paths = json.loads(get(base + "/sitemap.json")[2])["paths"]
    plain = [path for path in paths if "(.*)" not in path]
    wrong = {path: status for path in plain if (status := get(base + path)[0]) >= 500}
    assert len(plain) > 60 and not wrong


def test_pages_are_safe(base, client):
    """Keys, arguments and errors are text wherever they are shown"""
    future = client.submit(raiser, MARKUP, key=f"bad-{MARKUP}")
    eventually(lambda: future.status == "error", 10)
    quoted = urllib.parse.quote(future.key, safe="")
    for path in ("/status", "/tasks", "/groups", "/events", "/info/main/exceptions.html", f"/info/task/{quoted}.html"):
        status, headers, body = get(base + path)
        assert status == 200
        assert MARKUP.encode() not in body
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert "default-src 'self'" in headers["Content-Security-Policy"]
        assert headers["X-Frame-Options"] is None  # notebooks embed it
    assert b"&lt;img" in get(f"{base}/info/task/{quoted}.html")[2]


# ---- its own interface ---------------------------------------------------------------------------


def test_summary_workers_and_groups(observed, base, client):
    import dask.array as da

    x = da.ones((40, 40), chunks=(10, 10)).rechunk((20, 20)).map_blocks(inc).persist()
    client.gather(client.compute(x))
    summary = api(base, "summary")
    assert summary["scheduler"]["state"] == "running"
    assert summary["workers"]["total"] == 1 and summary["tasks"]["memory"] >= 4
    assert summary["cluster"]["address"] == observed.address and summary["ring"]["dropped"] == 0
    (worker,) = api(base, "workers")["workers"]
    assert worker["name"] == "a" and worker["nthreads"] == 2 and worker["status"] == "running"
    assert worker["memory"]["process"] > 0 and worker["runs"] > 0
    groups = {g["name"]: g for g in api(base, "groups", limit=1000)["groups"]}
    last = groups[next(name for name in groups if name == x.name)]
    assert last["states"]["memory"] == 4 and last["runs"] == 4 and last["size"] == 4
    prefixes = {p["name"]: p for p in api(base, "prefixes", limit=1000)["prefixes"]}
    assert prefixes[last["prefix"]]["runs"] >= 4


def test_runs_by_page_and_filter(base, client):
    client.gather(client.map(inc, range(30), key="paged"))
    seen, after = [], {}
    while len(seen) < 30:
        answer = api(base, "runs", prefix="paged", limit=7, **after)
        seen += [run["key"] for run in answer["runs"]]
        if answer["next"] is None:
            break
        after = {"after": answer["next"]}
    assert len(seen) == len(set(seen)) == 30
    assert api(base, "runs", prefix="nothing-has-this")["runs"] == []
    run = api(base, "runs", prefix="paged", limit=1)["runs"][0]
    assert run["status"] == "ok" and run["duration"] >= 0 and run["worker"] > 0
    assert api(base, "runs", prefix="paged", until=run["start"] - 1000)["runs"] == []


def test_failures_are_grouped(base, client):
    futures = [client.submit(raiser, i, key=f"failing-{i}", pure=False) for i in range(40)]
    eventually(lambda: all(f.status == "error" for f in futures), 20)
    rows = [f for f in api(base, "failures")["failures"] if f["prefix"] == "failing"]
    assert len(rows) == 1
    assert rows[0]["type"] == "ValueError" and rows[0]["count"] == 40
    assert rows[0]["where"].startswith("test_observer.py:") and rows[0]["where"].endswith("in raiser")
    assert rows[0]["cause"] == "user" and len(rows[0]["keys"]) == 10
    whole = api(base, "failure", id=rows[0]["id"])
    assert "raise ValueError" in whole["traceback"] and "not" in whole["exception"]
    assert get(base + "/api/cask/v1/failure?id=123456")[0] == 404


def test_status_says_what_failed(observed, client):
    future = client.submit(raiser, "good", key="sorry-1")
    eventually(lambda: future.status == "error", 20)
    told = eventually(lambda: (text := cask("status", observed.address)) and "sorry-1" in text and text, 10)
    line, where = re.search(r"^(1 × sorry .*)\n    (sorry-1.*)$", told, re.MULTILINE).groups()
    assert line == "1 × sorry  ValueError: not good"
    assert re.fullmatch(r"sorry-1, at test_observer.py:\d+ in raiser", where)


def test_task_why_story(base, client):
    future = client.submit(inc, 1, key=("tuple'd", 3, 1.5))
    assert future.result() == 2
    task = api(base, "task", key=str(future.key))
    assert task["scheduler"]["known"] and len(task["runs"]) == 1 and task["failures"] == []
    assert api(base, "why", key=str(future.key))["known"]
    assert api(base, "story", key=str(future.key))
    assert not api(base, "why", key="never heard of")["known"]
    assert get(base + "/api/cask/v1/why")[0] == 400
    assert get(base + "/api/cask/v1/story?key=")[0] == 400


def test_what_moved_by_type(make_cluster):
    cluster = make_cluster(env=ON)
    cluster.start_workers("a", "b")
    with Client(cluster.address, timeout=20) as client:
        here = client.submit(bytes, 1000, workers="a", key="here")
        more = client.submit(bytes, 2000, workers="a", key="more")
        other = client.submit(list, range(3), workers="a", key="other")
        assert client.submit(lambda *inputs: len(inputs), here, more, workers="b").result() == 2
        assert client.submit(lambda *inputs: len(inputs), here, other, workers="b").result() == 2
        rows = eventually(lambda: {row["type"]: row for row in api(base_of(cluster), "transfers")["types"]} if len(api(base_of(cluster), "transfers")["types"]) == 3 else None, 30)
    moved = rows["bytes"]
    assert moved["count"] == 2 and 3000 <= moved["bytes"] < 3200 and moved["seconds"] > 0
    assert rows["list"]["count"] == 1 and rows["list"]["seconds"] == 0
    assert rows["(several types)"]["seconds"] > 0 and rows["(several types)"]["count"] == 0


def test_tasks_that_are_a_group_of_their_own_are_one_row(base, client):
    futures = client.map(lonely, range(8), pure=False)  # keys are lonely-UUID
    futures[0].exception()
    client.gather(futures[1:])
    row = eventually(lambda: next((g for g in api(base, "groups", limit=1000)["groups"] if g["prefix"] == "lonely" and g["runs"] == 8), None), 30)
    assert row["name"] == "lonely" and row["failures"] == 1 and row["duration"]["max"] is not None
    eventually(lambda: next(g for g in api(base, "groups", limit=1000)["groups"] if g["id"] == row["id"])["states"]["memory"] == 7, 30)
    runs = api(base, "runs", group=row["id"])["runs"]
    assert len(runs) == 8 and {run["group"] for run in runs} == {row["id"]}


def test_stream_series_lists(base, client):
    import time

    begin = time.time()
    client.gather(client.map(lambda x: time.sleep(0.05), range(20), key="streamed"))
    stream = api(base, "stream", since=begin, until=time.time(), buckets=10, lanes="thread")
    runs = sum(sum(lane["runs"]) for lane in stream["lanes"])
    assert runs == 20 and 1 <= len(stream["lanes"]) <= 2
    assert all(0 <= share <= 1.01 for lane in stream["lanes"] for share in lane["busy"])
    (number,) = [number for number, name in stream["prefixes"].items() if name == "streamed"]
    tops = [(lane["top_share"][i], lane["top"][i]) for lane in stream["lanes"] for i in range(10) if lane["busy"][i] > 0.1]
    assert tops and max(tops) == (1, int(number))
    assert get(base + "/api/cask/v1/stream?since=5&until=4")[0] == 400
    group = next(g["id"] for g in api(base, "groups", limit=1000)["groups"] if g["name"] == "streamed")
    chosen = api(base, "runs", group=group, limit=1000)["runs"]
    assert len(chosen) == 20 and {run["group"] for run in chosen} == {group}
    busy = sum(sum(lane["busy"]) for lane in stream["lanes"]) * (stream["until"] - stream["since"]) / stream["buckets"]
    assert busy == pytest.approx(sum(run["duration"] for run in chosen), rel=0.05)
    series = api(base, "series", since=begin - 1)
    assert sum(series["runs"]) >= 20 and len(series["time"]) == len(series["workers"])
    client.log_event("observed", {"x": 1})
    events = eventually(lambda: api(base, "events", topic="observed")["events"], 10)
    assert events[0]["event"] == {"x": 1}
    assert api(base, "graphs")["graphs"][0]["tasks"] > 0
    logged = lambda: any("Register worker" in line["text"] for line in api(base, "logs", level="INFO", limit=1000)["logs"])
    eventually(logged, 10, "lines are told with the next sample")
    assert api(base, "transfers")["transfers"] == []
    assert api(base, "stacks", worker=next(iter(client.scheduler_info()["workers"]))) == {}


# ---- WebSockets ----------------------------------------------------------------------------------

TYPES = {1: ("d", 8), 2: ("f", 4), 3: ("I", 4), 4: ("B", 1), 6: ("H", 2)}
SAME = 0x80
CHANNELS = {1: "summary", 2: "workers", 3: "groups", 4: "stream", 5: "failures", 6: "logs"}


def read_frame(data):
    """As docs/observer.md draws it"""
    version, mode, channel, subscription, sequence, rows, time, count = struct.unpack_from("<BBHIIIdI", data)
    assert version == 1
    found, at = {}, 32 + 8 * count
    for i in range(count):
        kind, number, size = struct.unpack_from("<BxHI", data, 32 + 8 * i)
        values = 1 if kind & SAME else rows
        if kind & ~SAME == 5:
            ends = struct.unpack_from(f"<{values + 1}I", data, at)
            text = data[at + 4 * (values + 1) : at + size]
            column = [text[a:b].decode() for a, b in zip(ends, ends[1:], strict=False)]
        else:
            letter, width = TYPES[kind & ~SAME]
            assert size == values * width
            column = list(struct.unpack_from(f"<{values}{letter}", data, at))
        found[number] = column * rows if kind & SAME else column
        at += -(-size // 8) * 8
    assert at == len(data)
    return {"mode": mode, "channel": CHANNELS[channel], "id": subscription, "sequence": sequence, "rows": rows,
            "columns": found}  # fmt: skip


def test_what_the_loop_is_busy_with(base, client):
    client.gather(client.map(inc, range(30), key="busy"))
    expected = {"task-finished", "update-graph", "heartbeat_worker", "gather"}

    def told():
        get(f"{base}/metrics")  # which has everything sampled
        kinds = {kind["kind"]: kind for kind in api(base, "loop")["kinds"]}
        return expected <= kinds.keys() and kinds

    kinds = eventually(told, 20, "a sample tells them")
    assert all(0 < kind["longest"] <= kind["busy"] and kind["count"] > 0 for kind in kinds.values())
    before = kinds["heartbeat_worker"]["count"]
    eventually(lambda: told()["heartbeat_worker"]["count"] > before, 20, "workers beat on")


def test_json_is_packed_for_who_takes_it(base, client):
    client.gather(client.map(inc, range(50), key="packed"))

    def fetch(accepted):
        request = urllib.request.Request(f"{base}/api/cask/v1/runs?limit=50", headers={"Accept-Encoding": accepted})
        with urllib.request.urlopen(request, timeout=30) as answer:
            body = answer.read()
            assert int(answer.headers["Content-Length"]) == len(body)
            return answer.headers.get("Content-Encoding"), body

    kind, packed = fetch("br, gzip")
    assert kind == "gzip"
    assert len(json.loads(gzip.decompress(packed))["runs"]) == 50
    for accepted in ("identity", "gzip;q=0", "br"):
        kind, plain = fetch(accepted)
        assert kind is None and len(json.loads(plain)["runs"]) == 50
        assert len(packed) * 3 < len(plain)


def test_keys_of_several_lines(base, client):
    client.submit(inc, 1, key="two\nlines").result()
    task = lambda: api(base, "task", key_json=json.dumps("two\nlines"))
    assert task()["key"] == "two\nlines" and len(eventually(lambda: task()["runs"], 10)) == 1
    status, _, body = get(f"{base}/api/cask/v1/task?key=two%0Alines")
    assert status == 400 and "line breaks" in json.loads(body)["error"]


async def connect(base, path="/api/cask/v1/live", **headers):
    url = base.replace("http", "ws", 1) + path
    return await websocket_connect(HTTPRequest(url, headers=headers, connect_timeout=10))


async def receive(socket, wanted=lambda frame: True):
    while True:
        data = await asyncio.wait_for(socket.read_message(), 15)
        assert data is not None, "closed"
        frame = json.loads(data) if isinstance(data, str) else read_frame(data)
        if wanted(frame):
            return frame


def test_live(observed, base, client):
    async def watch():
        ws = await connect(base)
        for i, channel in CHANNELS.items():
            await ws.write_message(json.dumps({"sub": channel, "id": i, "hz": 10, "p": {"keys": True}}))
        first = {}
        while len(first) < len(CHANNELS):
            frame = await receive(ws)
            first.setdefault(frame["channel"], frame)
        assert all(first[c]["id"] == i and first[c]["sequence"] == 0 for i, c in CHANNELS.items())
        assert first["summary"]["columns"][1] == [1] and first["summary"]["columns"][2] == [2]
        assert first["workers"]["columns"][2] == ["a"] and first["workers"]["mode"] == 0
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(None, lambda: client.gather(client.map(inc, range(5), key="live-run")))
        keys = set()
        while len(keys) < 5:
            frame = await receive(ws, lambda f: f["channel"] == "stream")
            assert frame["mode"] == 2
            keys |= {key for key in frame["columns"][11] if "live-run" in key}
        await loop.run_in_executor(None, lambda: client.submit(raiser, 1, key="live-failure").exception())
        await receive(ws, lambda f: f["channel"] == "failures" and "live-failure" in f["columns"][1])
        await ws.write_message('{"ping": 17}')
        await receive(ws, lambda f: f.get("pong") == 17)
        for wrong in ('{"sub": "nothing", "id": 9}', '{"sub": "logs", "id": 0}', "{}", "[", '"x"', "\x00"):
            await ws.write_message(wrong)
            assert "error" in await receive(ws, lambda f: "error" in f)
        ws.close()

    asyncio.run(watch())
    eventually(lambda: api(base, "summary")["viewers"] == 0, 10, "the viewer has left")


def test_a_viewer_that_says_too_much_is_closed(base):
    async def shout():
        ws = await connect(base)
        await ws.write_message("x" * 10_000)
        assert await asyncio.wait_for(ws.read_message(), 10) is None

    asyncio.run(shout())
    assert get(base + "/health")[0] == 200


def test_eventstream(observed, base, client):
    async def watch():
        ws = await connect(base, "/eventstream")
        worker = await receive(ws)
        assert worker["name"] == "add_worker" and worker["worker"] in client.scheduler_info()["workers"]
        await ws.write_message('{"name": "ping"}')
        assert "timestamp" in await receive(ws, lambda m: m["name"] == "pong")
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(None, lambda: client.submit(inc, 1, key="event-run").result())
        await receive(ws, lambda m: m["name"] == "update_graph")
        move = await receive(ws, lambda m: m["name"] == "transition" and m["key"] == "event-run")
        assert move["action"] == "compute" and move["stop"] >= move["start"] and move["color"]
        ws.close()

    asyncio.run(watch())


def test_sockets_of_other_paths_are_refused(base):
    async def knock():
        with pytest.raises(Exception):
            await connect(base, "/status")

    asyncio.run(knock())


# ---- settings ------------------------------------------------------------------------------------


def test_a_token_closes_it(make_cluster):
    cluster = make_cluster(env={**ON, "DASK_CASK__DASHBOARD__TOKEN": "open-sesame"})
    base = base_of(cluster)
    assert get(base + "/health")[0] == 200
    for path in ("/status", "/metrics", "/json/identity.json", "/api/cask/v1/summary"):
        assert get(base + path)[0] == 401
        assert get(base + path + "?token=open-sesam")[0] == 401
        assert get(base + path, Authorization="Bearer open-sesame")[0] == 200
    status, headers, _ = get(base + "/status?token=open-sesame")
    assert status == 200
    cookie = headers["Set-Cookie"]
    assert "HttpOnly" in cookie and "SameSite=Lax" in cookie
    assert get(base + "/status", Cookie=cookie.partition(";")[0])[0] == 200

    async def knock():
        with pytest.raises(Exception):
            await connect(base)
        with pytest.raises(Exception):
            await connect(base, Authorization="Bearer open-sesame", Origin="http://elsewhere.example")
        (await connect(base, Authorization="Bearer open-sesame", Origin=base)).close()

    asyncio.run(knock())


def test_prefix(make_cluster):
    cluster = make_cluster(scheduler_options=["--dashboard-prefix", "/a/b/"], env=ON)
    base = base_of(cluster)
    assert get(base + "/a/b/health")[0] == 200 and get(base + "/health")[0] == 404
    assert get(base + "/")[1]["Location"] == "/a/b/status"
    assert json.loads(get(base + "/a/b/json/counts.json")[2])["workers"] == 0
    assert get(base + "/a/bc/status")[0] == 404


def test_without_pages(make_cluster):
    """As stock without bokeh: what programs read is there"""
    cluster = make_cluster(scheduler_options=["--no-dashboard"], env=ON)
    base = base_of(cluster)
    assert get(base + "/status")[0] == 404
    assert get(base + "/health")[0] == 200 and get(base + "/metrics")[0] == 200


def test_a_port_that_is_taken(make_cluster):
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        cluster = make_cluster(scheduler_options=["--dashboard-address", f"127.0.0.1:{port}"], env=ON)
        base = base_of(cluster)
        assert not base.endswith(f":{port}")
        assert f"Port {port} is already in use" in cluster.scheduler.log()
        assert get(base + "/health")[0] == 200


def test_several_addresses(make_cluster):
    """As stock: it is reached at all of them; the first is told; one that is taken is replaced by any"""
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        taken, free = other.getsockname()[1], free_port()
        options = ["--dashboard-address", f"127.0.0.1:0,127.0.0.1:{taken},127.0.0.1:{free}"]
        cluster = make_cluster(scheduler_options=options, env=ON)
        base = base_of(cluster)  # it answers when it has told all of them
    assert f"Port {taken} is already in use" in cluster.scheduler.log()
    bases = [line.split()[-1].removesuffix("/status") for line in cluster.scheduler.log().splitlines() if "dashboard at" in line]
    assert len(set(bases)) == 3 and bases[0] == base and bases[2].endswith(f":{free}")
    assert [get(base + "/health")[2] for base in bases] == [b"ok"] * 3
    first = child_of(cluster.scheduler.pid)
    os.kill(first, signal.SIGKILL)
    eventually(lambda: child_of(cluster.scheduler.pid) not in (None, first), 20, "another runs")
    assert [get(base + "/health", timeout=60)[2] for base in bases] == [b"ok"] * 3


def test_no_process_no_service(make_cluster):
    cluster = make_cluster()
    assert cluster.ask("identity", n_workers=0)["services"] == {}


def test_api_v1_by_its_setting(make_cluster):
    routes = '["distributed.http.scheduler.api", "distributed.http.health"]'
    cluster = make_cluster("a", "b", env={**ON, "DASK_DISTRIBUTED__SCHEDULER__HTTP__ROUTES": routes})
    base = base_of(cluster)
    assert get(base + "/api/v1")[2] == b"API V1"
    workers = json.loads(get(base + "/api/v1/get_workers")[2])
    assert workers["num_workers"] == 2 and {w["name"] for w in workers["workers"]} == {"a", "b"}
    assert json.loads(get(base + "/api/v1/adaptive_target")[2]) == {"workers": 0}
    assert set(json.loads(get(base + "/api/v1/check_idle")[2])) == {"idle_since"}
    assert get(base + "/api/v1/retire_workers")[0] == 405
    import urllib.request

    request = urllib.request.Request(base + "/api/v1/retire_workers", data=json.dumps({"n": 1}).encode())
    with urllib.request.urlopen(request, timeout=60) as answer:
        assert len(json.loads(answer.read())) == 1
    eventually(lambda: len(cluster.addresses()) == 1, 30, "one worker has retired")


# ---- life ----------------------------------------------------------------------------------------


def child_of(pid):
    children = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return next((int(c) for c in children if b"observer" in pathlib.Path(f"/proc/{c}/cmdline").read_bytes()), None)


def gone(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_it_is_started_again(make_cluster, connect):
    cluster = make_cluster("a", env=ON)
    base = base_of(cluster)
    first = eventually(lambda: child_of(cluster.scheduler.pid))
    os.kill(first, signal.SIGKILL)
    eventually(lambda: child_of(cluster.scheduler.pid) not in (None, first), 20, "another runs")
    assert api(base, "workers")["workers"][0]["name"] == "a"
    assert connect(cluster).submit(inc, 1).result() == 2
    eventually(lambda: api(base, "summary")["runs"] == 1, 10, "it sees what happens")


def test_it_tells_how_the_scheduler_died(make_cluster):
    for number, words in ((signal.SIGSEGV, "signal 11"), (signal.SIGKILL, "SIGKILL")):
        cluster = make_cluster("a", env={**ON, "DASK_CASK__DASHBOARD__LINGER": "1 hour"})
        base = base_of(cluster)
        api(base, "workers")
        observer = eventually(lambda: child_of(cluster.scheduler.pid))
        try:
            os.kill(cluster.scheduler.pid, number)
            answer = eventually(lambda: (s := api(base, "summary"))["scheduler"]["state"] == "died" and s, 20)
            assert words in answer["scheduler"]["reason"]
            status, _, body = get(base + "/health")
            assert status == 503 and words in body.decode()
            assert words in get(base + "/status")[2].decode()
            assert api(base, "workers")["workers"][0]["name"] == "a"
        finally:
            os.kill(observer, signal.SIGKILL)
        eventually(lambda: gone(observer))


def test_an_orderly_end_takes_it_along(make_cluster):
    cluster = make_cluster(env=ON)
    base_of(cluster)
    observer = eventually(lambda: child_of(cluster.scheduler.pid))
    cluster.scheduler.kill(signal.SIGTERM)
    cluster.scheduler.wait()
    eventually(lambda: gone(observer))  # it may have to write history first


def test_it_lingers_if_told_to(make_cluster):
    cluster = make_cluster(scheduler_options=["--dashboard-linger", "1 hour"], env=ON)
    base = base_of(cluster)
    observer = eventually(lambda: child_of(cluster.scheduler.pid))
    try:
        cluster.scheduler.kill(signal.SIGTERM)
        cluster.scheduler.wait()
        answer = eventually(lambda: (s := api(base, "summary"))["scheduler"]["state"] == "ended" and s, 20)
        assert answer["scheduler"]["reason"] == "signal-15"
    finally:
        os.kill(observer, signal.SIGKILL)
    eventually(lambda: gone(observer))


def test_local_cluster():
    from cask import LocalCluster

    with (
        dask.config.set({"cask.dashboard.process": True}),
        LocalCluster(n_workers=0, dashboard_address="127.0.0.1:0") as cluster,
    ):
        assert get(cluster.dashboard_link)[0] == 200
    with LocalCluster(n_workers=0, dashboard_address=None) as cluster:
        assert cluster.dashboard_link == ""


# ---- hostile peers -------------------------------------------------------------------------------


def send_raw(base, data):
    host, port = base.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), 10) as peer:
        peer.settimeout(10)
        answer = b""
        try:
            peer.sendall(data)
            peer.shutdown(socket.SHUT_WR)
            while part := peer.recv(65536):
                answer += part
        except OSError:  # it hung up on us
            pass
    return answer


@pytest.mark.parametrize(
    "data",
    [
        b"\x00" * 100,
        b"GET / HTTP/1.1\r\n" + b"X: " + b"y" * 100_000 + b"\r\n\r\n",
        b"GET " + b"/a" * 50_000 + b" HTTP/1.1\r\n\r\n",
        b"GET /../../etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /statics/..%2f..%2fetc/passwd HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST /api/v1/retire_workers HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\n" + b"x" * 200_000,
        b"BREW / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET /api/cask/v1/live HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n",
        b"GET /info/task/%ff%fe%00.html HTTP/1.1\r\nHost: x\r\n\r\n",
    ],
)
def test_strange_requests_do_no_harm(observed, base, data):
    before = child_of(observed.scheduler.pid)
    answer = send_raw(base, data)
    assert b"root:" not in answer and b" 200 " not in answer.split(b"\r\n")[0]
    assert get(base + "/health")[2] == b"ok"
    assert child_of(observed.scheduler.pid) == before
