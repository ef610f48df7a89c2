"""What the scheduler tells about itself: states, stories, profiles, logs, events, dumps."""

import asyncio
import gzip
import json
import re
import time

import msgpack
import pytest
from distributed import (
    get_task_metadata,
    get_task_stream,
    get_worker,
    performance_report,
    print,
    span,
    wait,
    warn,
)
from distributed.core import clean_exception
from distributed.diagnostics import MemorySampler
from distributed.diagnostics.progressbar import MultiProgressBar, ProgressBar, progress
from harness import eventually
from tasks import add, inc, slowinc


def test_identity_and_scheduler_info(cluster, client):
    info = client.scheduler_info()
    assert info["type"] == "Scheduler" and info["address"] == cluster.address
    assert re.fullmatch(r"Scheduler-[0-9a-f-]{36}", info["id"])
    assert len(info["workers"]) == 3 and info["n_workers"] == 3 and info["total_threads"] == 3
    assert abs(info["started"] - time.time()) < 3600
    for worker in info["workers"].values():
        assert {"type", "id", "host", "resources", "local_directory", "name", "nthreads"} <= set(worker)
        assert {"memory_limit", "last_seen", "services", "metrics", "status", "nanny"} <= set(worker)
    assert len(client.scheduler_info(n_workers=1)["workers"]) == 1
    assert client.nthreads() == dict.fromkeys(info["workers"], 1)
    assert "processes=3 threads=3" in repr(client)


def test_who_has_has_what_nbytes_processing(client, a):
    x = client.submit(bytes, 1000, workers="alice", key="x")
    wait(x)
    assert client.who_has([x]) == {"x": (a,)}
    assert client.who_has() == {"x": (a,)}
    assert client.has_what([a]) == {a: ("x",)}
    assert client.nbytes(summary=False)["x"] == pytest.approx(1033, abs=50)
    slow = client.submit(slowinc, 1, delay=0.3, workers="alice", key="slow")
    eventually(lambda: client.processing(workers=[a]) == {a: ("slow",)})
    wait(slow)


def test_groups_in_nbytes(client):
    xs = client.map(bytes, [10, 20], key=["b-0", "b-1"])
    wait(xs)
    each = client.nbytes(summary=False)
    assert client.nbytes(summary=True) == {"b": each["b-0"] + each["b-1"]}


def test_call_stack(client, a):
    f = client.submit(slowinc, 1, delay=1, workers="alice", key="slow")
    stack = eventually(lambda: client.call_stack())
    assert "slowinc" in str(stack[a]["slow"])
    assert "slow" in client.call_stack([f])[a]
    assert "slow" in client.call_stack(keys=["slow"])[a]
    wait(f)
    assert not client.call_stack()


def test_story(client):
    x = client.submit(inc, 1, key="x")
    y = client.submit(inc, x, key="of-a-story")  # other tests have tasks named y, whose moves are kept
    wait(y)
    story = client.story(y.key)
    moves = [(row[2], row[3]) for row in story if row[:2] == ("scheduler", y.key)]
    assert moves == [("released", "waiting"), ("waiting", "processing"), ("processing", "memory")]
    assert any(row[0].startswith("tcp://") for row in story)
    assert client.story("no such key") == []


def test_versions(client):
    versions = client.get_versions(check=True)
    assert set(versions) == {"scheduler", "workers", "client"} and len(versions["workers"]) == 3
    for each in (versions["scheduler"], versions["client"], *versions["workers"].values()):
        assert {"host", "packages"} <= set(each)
        assert {"python", "OS", "machine"} <= set(each["host"])
        assert {"python", "dask", "distributed", "msgpack"} <= set(each["packages"])
    assert "pandas" in client.get_versions(packages=["pandas"])["client"]["packages"]


def test_dump_of_the_cluster_state(client, tmp_path):
    x = client.submit(inc, 1, key="x")
    bad = client.submit(lambda: 1 / 0, key="bad")
    wait([x, bad])
    client.dump_cluster_state(str(tmp_path / "dump"), format="msgpack")
    with gzip.open(tmp_path / "dump.msgpack.gz") as file:
        state = msgpack.unpack(file, strict_map_key=False)
    assert set(state) == {"scheduler", "workers", "versions"}
    tasks = state["scheduler"]["tasks"]
    assert tasks["x"]["state"] == "memory" and tasks["bad"]["state"] == "erred"
    assert {"address", "workers", "clients", "transition_log", "events", "id"} <= set(state["scheduler"])
    assert len(state["workers"]) == 3
    assert any("x" in w["tasks"] for w in state["workers"].values())
    client.dump_cluster_state(f"file://{tmp_path}/by-url", exclude=["run_spec"], write_from_scheduler=True)
    assert (tmp_path / "by-url.msgpack.gz").stat().st_size > 500


def test_task_stream_of_an_interval(client):
    client.get_task_stream()
    with get_task_stream(client) as ts:
        wait(client.map(slowinc, range(4), delay=0.01, pure=False))
    assert len(ts.data) == 4
    last = client.get_task_stream(start="60s", count=2)
    assert len(last) == 2
    assert client.get_task_stream(start=time.time() + 100) in ([], ())


def test_performance_report(client, tmp_path):
    with performance_report(filename=str(tmp_path / "report.html"), stacklevel=1):
        client.gather(client.map(slowinc, range(5), delay=0.02))
    html = (tmp_path / "report.html").read_text()
    assert "Dask Performance Report" in html and "slowinc" in html
    assert "compute time" in html and "Select different tabs" in html


def test_memory_sampler(client):
    sampler = MemorySampler()
    with sampler.sample("measured", interval=0.05):
        f = client.submit(bytes, 50_000_000)
        wait(f)
        eventually(lambda: client.scheduler_info()["workers"] and f.done())
        time.sleep(0.3)  # some samples
    frame = sampler.to_pandas()
    assert "measured" in frame.columns and len(frame) >= 3
    assert frame["measured"].max() > 50_000_000


def test_task_metadata(client):
    def annotates(x):
        get_worker().state.tasks  # noqa: B018
        return x

    with get_task_metadata() as tasks:
        f = client.submit(annotates, 1, key="t")
        assert f.result() == 1
    assert tasks.state["t"] == "memory"
    assert "t" in tasks.metadata


def test_spans(client):
    with span("outer") as outer:
        with span("inner"):
            f = client.map(slowinc, range(3), delay=0.01, pure=False)
            wait(f)

    def look(dask_scheduler, span_id):
        ext = dask_scheduler.extensions["spans"]
        found = ext.spans[span_id]
        return found.name, [s.name for s in found.children], dict(found.states)

    name, children, states = client.run_on_scheduler(look, span_id=outer)
    assert tuple(name) == ("outer",)
    assert [tuple(c) for c in children] == [("outer", "inner")]
    assert states["memory"] == 3


def test_states_by_prefix(client):
    xs = client.map(inc, range(3), key=["up-1", "up-2", "up-3"])
    bad = client.submit(lambda: 1 / 0, key="bad-1")
    wait([*xs, bad])

    def counts(dask_scheduler):
        return {name: dict(p.states) for name, p in dask_scheduler.task_prefixes.items()}

    states = client.run_on_scheduler(counts)
    assert states["up"]["memory"] == 3 and states["bad"]["erred"] == 1

    answer = client.sync(client.scheduler.get_task_prefix_states)
    assert answer["up"]["memory"] == 3


def test_progress_of_several_functions(client, capsys):
    xs = client.map(slowinc, range(10), delay=0.02)
    total = client.submit(sum, xs)
    progress(total, interval="20ms")
    assert "100% Completed" in capsys.readouterr().out

    xs = client.map(slowinc, range(10, 20), delay=0.02)
    progress(client.submit(sum, xs), interval="20ms")
    assert "100% Completed" in capsys.readouterr().out


class Watched:
    """What a progress bar is told, first and last"""

    def _draw_bar(self, **told):
        self.first = getattr(self, "first", told)
        self.last = told


class WatchedBar(Watched, ProgressBar):
    pass


class WatchedBars(Watched, MultiProgressBar):
    pass


def watch(client, make, futures, **options):
    bar = make(futures, scheduler=client.scheduler.address, interval="10ms", **options)
    client.sync(bar.listen)
    return bar.last


def test_what_progress_bars_are_told(client):
    xs = client.map(slowinc, range(4), delay=0.02, key=[("x", i) for i in range(4)])
    total = client.submit(sum, xs, key="total")
    finished = {"all": 5, "remaining": 0, "status": "finished"}
    assert watch(client, WatchedBar, [total]) == finished
    told = watch(client, WatchedBars, [total, *xs])
    assert told["all"] == {"x": 4, "total": 1} and told["remaining"] == {"x": 0, "total": 0}
    assert watch(client, WatchedBar, [total], complete=False) == finished | {"all": 1}
    assert watch(client, WatchedBar, []) == finished | {"all": 0}

    with span("outer"), span("inner"):
        y = client.submit(slowinc, 1, delay=0.1, key="y")
    z = client.submit(inc, y, key="z")
    told = watch(client, WatchedBars, [z], group_by="spans")
    assert {name: n for (name, _), n in told["all"].items()} == {"outer, inner": 1, "default": 1}
    told = watch(client, WatchedBars, [z], group_by=lambda key: "all")  # needs Python there
    assert told["all"] == {"all": 1} and told["status"] == "finished"


def test_progress_of_what_fails_or_is_cancelled(client):
    x = client.submit(slowinc, 1, delay=0.1, key="x")
    bad = client.submit(lambda _: 1 / 0, x, key="bad")
    after = client.submit(inc, bad, key="after")
    for _ in range(2):  # while it fails, and when it has
        told = watch(client, WatchedBar, [after])
        assert (told["status"], told["key"], told["all"]) == ("error", "bad", 3)
        error = clean_exception(told["exception"])[1]
        assert isinstance(error, ZeroDivisionError)

    slow = client.submit(slowinc, 1, delay=5, key="slow")
    bar = WatchedBar([slow], scheduler=client.scheduler.address, interval="10ms")
    done = asyncio.run_coroutine_threadsafe(bar.listen(), client.loop.asyncio_loop)
    eventually(lambda: bar.last)
    client.cancel([slow])
    done.result(10)
    assert bar.last["status"] == "error"


def test_progress_of_keys_to_come(client):
    bar = WatchedBar(["later"], scheduler=client.scheduler.address, interval="10ms")
    done = asyncio.run_coroutine_threadsafe(bar.listen(), client.loop.asyncio_loop)
    time.sleep(0.1)
    later = client.submit(inc, 1, key="later")
    done.result(10)
    assert bar.last["status"] == "finished" and later.result() == 2


def test_events_and_topics(client):
    def speaks(i):
        get_worker().log_event("talk", {"i": i, "deep": [1, {"x": None}]})
        get_worker().log_event(["talk", "other"], "both")

    seen = []

    async def handler(event):
        seen.append(event)

    client.subscribe_topic("talk", handler)
    client.gather(client.map(speaks, range(3)))
    client.log_event("talk", "from the client")
    eventually(lambda: len(seen) == 7)
    times, messages = zip(*(event for event in seen), strict=True)
    assert all(abs(t - time.time()) < 60 for t in times)
    mine = [m for m in messages if isinstance(m, dict)]
    assert sorted(m["i"] for m in mine) == [0, 1, 2]
    assert all(m["deep"] == (1, {"x": None}) for m in mine)

    client.unsubscribe_topic("talk")
    client.submit(inc, 1).result()  # comes behind it on the same stream
    client.log_event("talk", "unheard")
    events = client.get_events("talk")
    assert events[-1][1] == "unheard" and len(events) == 8
    assert len(client.get_events("other")) == 3
    assert "talk" in client.get_events() and "all" in client.get_events()
    assert len(seen) == 7
    with pytest.raises(ValueError, match="No event handler known for topic"):
        client.unsubscribe_topic("never subscribed")


def test_print_and_warn_in_tasks(client, capsys):
    def speaks():
        print("printed on", get_worker().name)
        warn("warned there", UserWarning)

    with pytest.warns(UserWarning, match="warned there"):
        client.submit(speaks, workers="bob").result()
        eventually(lambda: "printed on bob" in capsys.readouterr().out)


def test_forwarded_logs(client, caplog):
    client.forward_logging("interop.logger", level="INFO")

    def logs():
        import logging

        logging.getLogger("interop.logger").error("from a worker")

    client.submit(logs).result()
    eventually(lambda: "from a worker" in caplog.text)
    client.unforward_logging("interop.logger")


def test_logs(client, a):
    assert any("Scheduler at:" in line for _, line in client.get_scheduler_logs())
    assert len(client.get_scheduler_logs(n=2)) == 2
    logs = client.get_worker_logs(n=1, workers=[a])
    assert set(logs) == {a} and len(logs[a]) == 1


def test_computations_keep_the_code(client):
    xs = client.map(inc, range(5))
    wait(xs)
    client.submit(add, *xs[:2]).result()

    def look(dask_scheduler):
        last = dask_scheduler.computations[-1]
        return [g.name for g in last.groups], [c.code for frames in last.code for c in frames]

    names, code = client.run_on_scheduler(look)
    assert any(name.startswith("inc") or name.startswith("add") for name in names)
    assert all(isinstance(text, str) for text in code)


def test_scheduler_file(make_cluster, connect, tmp_path):
    path = tmp_path / "scheduler.json"
    cluster = make_cluster("w", scheduler_options=["--scheduler-file", str(path)])
    content = json.loads(path.read_text())
    assert content["address"] == cluster.address and content["type"] == "Scheduler"
    client = connect(cluster)
    client.write_scheduler_file(str(tmp_path / "copy.json"))
    assert json.loads((tmp_path / "copy.json").read_text())["address"] == cluster.address
