"""The command line: `cask status`, `explain`, `story`, `trace`, `internals`, and what `scheduler` prints and refuses."""

import json
import os
import pathlib
import re
import shlex
import signal
import subprocess
import time
import typing

import pytest
from distributed import Client
from harness import KIND, SCHEDULER_CMD, Process, Scheduler, clean_environment, eventually, free_port
from tasks import inc, slowinc
from worker_clusters import start_cask

pytestmark = pytest.mark.skipif(KIND != "cask", reason="cask's own commands")
CASK = shlex.split(SCHEDULER_CMD)[0]


def cask(*arguments, code=0, env=None):
    """Run a command that ends; its standard output"""
    result = subprocess.run(
        [CASK, *arguments], capture_output=True, text=True, timeout=30, env=clean_environment(env)
    )
    assert result.returncode == code, result.stdout + result.stderr
    return result.stdout if code == 0 else result.stdout + result.stderr


def commands():
    return [row["command"] for row in json.loads(cask("internals", "options", "--json"))]


# ---- all commands ----


def test_every_command_has_help_within_80_columns():
    assert {"scheduler", "status", "explain", "story", "logs", "trace", "internals"} <= set(commands())
    for command in commands():
        text = cask(command, "--help")
        assert text.startswith(f"Usage: cask {command}")
        assert max(map(len, text.splitlines())) <= 80
    assert all(command in cask("--help") for command in commands())
    assert max(map(len, cask("--help").splitlines())) <= 80


def test_wrong_command_lines_are_refused_with_advice():
    assert "no command" in cask("frobnicate", code=2)
    assert "Usage" in cask(code=2)
    for command in commands():
        text = cask(command, "--frobnicate", code=2)
        assert "--frobnicate" in text and f"cask {command} --help" in text
    assert "needs a value" in cask("scheduler", "--port", code=2)
    assert "takes no value" in cask("status", "--json=yes", code=2)
    assert "--preload" in cask("scheduler", "stray", code=2)
    assert "jupyter" in cask("scheduler", "--jupyter", code=2)
    assert "duration" in cask("scheduler", "--idle-timeout", "soon", code=2)
    cask("explain", code=2)
    cask("explain", "a", "b", code=2)
    cask("explain", "('x', ", code=2)
    cask("story", code=2)
    cask("logs", code=2)
    cask("trace", code=2)
    cask("trace", "--listen", ":0", code=2)
    cask("internals", "nonsense", code=2)
    assert "a table is needed" in cask("internals", code=2)
    cask("internals", "events", "--dot", code=2)


def test_nobody_there():
    for command in ("status",), ("explain", "x"), ("story", "x"), ("logs", "x"):
        address = f"tcp://127.0.0.1:{free_port()}"
        text = cask(*command, "--scheduler", address, "--timeout", "1s", code=1)
        assert address in text and text.count("\n") == 1
    assert cask("status", "tls://127.0.0.1:1", code=1).count("tls://") == 1
    assert "not an address" in cask("status", "ftp://x", code=1)
    assert "duration" in cask("status", "--timeout", "soon", code=1)
    assert "nowhere" in cask("status", "--scheduler-file", "/nowhere/file", code=1)


# ---- status ----


def test_status(cluster, client):
    f = client.submit(inc, 1, key="inc-status")
    f.result()
    text = cask("status", cluster.address)
    for part in (cluster.address, "3 workers, 3 threads", "running", "inc-status"):
        assert part in text
    assert ("No planner runs" in text) != ("Planner: process " in text)
    assert max(map(len, text.splitlines())) <= 80
    state = json.loads(cask("status", "--scheduler", cluster.address, "--json"))
    assert state["scheduler"]["n_workers"] == 3
    assert state["tasks"]["inc-status"]["memory"] == 1
    assert state["planner"]["open"] == 0


def test_status_finds_the_scheduler(make_cluster, tmp_path):
    path = tmp_path / "scheduler.json"
    cluster = make_cluster(scheduler_options=["--scheduler-file", str(path)])
    eventually(path.exists)
    assert cluster.address in cask("status", "--scheduler-file", str(path))
    assert cluster.address in cask("status", env={"DASK_SCHEDULER_ADDRESS": cluster.address})
    assert cluster.address in cask("status", f"127.0.0.1:{cluster.scheduler.port}")


# ---- explain, story ----


def test_explain(cluster, client):
    x = client.submit(inc, 1, key=("x", 0, "a b"), resources={"UNOBTAINIUM": 1})
    y = client.submit(inc, x, key="y")
    where = ("--scheduler", cluster.address)
    answer = eventually(lambda: json.loads(cask("explain", "('x', 0, 'a b')", "--json", *where)), 15)
    assert answer["known"] and "UNOBTAINIUM" in answer["summary"]
    assert len(answer["workers"]) == 3 and not any(w["eligible"] for w in answer["workers"])
    text = cask("explain", "y", *where)
    assert "waiting" in text and "('x', 0, 'a b')" in text and "What would help" in text
    assert max(map(len, text.splitlines())) <= 80
    assert "never submitted" in cask("explain", "no-such-key", *where, code=1)
    del x, y


def test_story(cluster, client):
    f = client.submit(inc, 1, key="inc-story")
    f.result()
    text = cask("story", "inc-story", "--scheduler", cluster.address)
    assert "processing → memory" in text and "task-finished" in text
    moves = json.loads(cask("story", "inc-story", "--scheduler", cluster.address, "--json"))
    assert [move[2] for move in moves if move[0] == "inc-story"][-1] == "memory"
    stimulus = moves[0][4]
    assert json.loads(cask("story", stimulus, "--scheduler", cluster.address, "--json"))
    assert "Nothing is remembered" in cask("story", "no-such-key", "--scheduler", cluster.address)


def pass_gate(gate):
    while not gate.exists():
        time.sleep(0.01)
    return 0


def test_dependents_go_ahead(make_cluster, connect, tmp_path):
    """While a short task runs, what follows is at its worker already; it begins there once that has ended"""
    cluster = make_cluster(env={"DASK_CASK__SCHEDULER__RUN_AHEAD": "1h"})  # whatever this machine does, they are short
    start_cask(cluster, "alice", nthreads=4)  # so that two tasks of a name are not root-ish
    client = connect(cluster)
    assert client.submit(pass_gate, tmp_path, key="gate-0").result() == 0
    assert client.submit(inc, 0, key="inc-0").result() == 1
    gate = tmp_path / "gate"
    graph = {"gate-1": (pass_gate, gate), "inc-1": (inc, "gate-1"), "inc-2": (inc, "inc-1")}
    future = client.get(graph, "inc-2", sync=False)
    eventually(lambda: "gate-1" in str(client.processing()))
    for key in "inc-1", "inc-2":
        answer = json.loads(cask("explain", key, "--json", "--scheduler", cluster.address))
        assert f"sent to {cluster.addresses()['alice']} already" in answer["summary"]
    gate.touch()
    assert future.result() == 2
    for key in "inc-1", "inc-2":
        moves = json.loads(cask("story", key, "--scheduler", cluster.address, "--json"))
        own = [tuple(move[1:3]) for move in moves if move[0] == key]
        assert own[:4] == [
            ("released", "waiting"),
            ("waiting", "waiting"),
            ("waiting", "processing"),
            ("processing", "memory"),
        ]


# ---- trace ----


class Trace(Process):
    """`cask trace` between peers and a scheduler"""

    def __init__(self, to, *options, scheme="tcp", env=None):
        self.port = free_port()
        self.address = f"{scheme}://127.0.0.1:{self.port}"
        command = [CASK, "trace", "--listen", self.address, "--connect", to, *options]
        super().__init__("trace", command, env)
        eventually(lambda: "Ctrl-C" in self.log())


def test_trace_shows_a_conversation(cluster):
    proxy = Trace(cluster.address)
    try:
        with Client(proxy.address) as client:
            assert client.submit(inc, 41, key="inc-traced").result() == 42
        for part in ("opened from", "→ register-client", "→ update-graph", "← key-in-memory", "'inc-traced'"):
            eventually(lambda part=part: part in proxy.log(), message=part)
        proxy.kill(signal.SIGTERM)
        assert proxy.wait() == 0
    finally:
        proxy.close()


@pytest.mark.parametrize(("scheme", "to"), [("ws", "ws"), ("wss", "wss"), ("wss", "ws"), ("tls", "tcp")])
def test_trace_on_websockets_and_with_tls(make_cluster, certificate, security, scheme, to):
    """Encryption may begin or end at the proxy, which has the scheduler's certificate"""
    cert, key = certificate
    tls = "DASK_DISTRIBUTED__COMM__TLS__"
    env = {f"{tls}CA_FILE": cert, f"{tls}SCHEDULER__CERT": cert, f"{tls}SCHEDULER__KEY": key}
    cluster = make_cluster(host=f"{to}://127.0.0.1", env=env, security=security)
    proxy = Trace(cluster.address, scheme=scheme, env=env)
    big = b"x" * 10_000_000
    try:
        with Client(proxy.address, security=security) as client:
            client.log_event("big", big)
            assert client.get_events("big")[0][1] == big
        for part in ("→ register-client", "→ log_event topic='big' msg=<10000000 bytes>", "→ events topic='big'"):
            eventually(lambda part=part: part in proxy.log(), message=part)
    finally:
        proxy.close()


def test_trace_writes_captures_that_it_reads(cluster, tmp_path):
    proxy = Trace(cluster.address, "--json", "--raw")
    try:
        with Client(proxy.address) as client:
            assert client.submit(inc, 41, key="inc-capture").result() == 42
        eventually(lambda: "inc-capture" in proxy.log())
        proxy.kill(signal.SIGINT)
        assert proxy.wait() == 0
        lines = [line for line in proxy.log().splitlines() if line.startswith("{")]
    finally:
        proxy.close()
    capture = tmp_path / "capture.json"
    capture.write_text("\n".join(lines))
    text = cask("trace", "--file", str(capture))
    assert "→ update-graph" in text and "inc-capture" in text
    one = next(json.loads(line) for line in lines if "register-client" in line)
    (tmp_path / "bytes").write_bytes(bytes.fromhex(one["hex"]))
    assert "register-client" in cask("trace", "--file", str(tmp_path / "bytes"))
    assert "000000" in cask("trace", "--file", str(tmp_path / "bytes"), "--raw")


def test_trace_refuses_bad_captures(tmp_path):
    path = tmp_path / "capture"
    for content in (b'{"hex": "0g"}', b'{"hex": ', b'{"hex": "ff"}', b"\xff" * 40, b"\x10\0\0"):
        path.write_bytes(content)
        assert "capture: " in cask("trace", "--file", str(path), code=1), content
    cask("trace", "--file", str(tmp_path / "missing"), code=1)
    mixed = cask("trace", "--listen", "ws://127.0.0.1:0", "--connect", "tcp://127.0.0.1:1", code=1)
    assert "both must be websockets" in mixed


def test_trace_passes_on_what_it_cannot_read(cluster):
    """A peer that does not speak Dask: its connection is closed by the scheduler, others go on"""
    import socket

    proxy = Trace(cluster.address)
    try:
        with socket.create_connection(("127.0.0.1", proxy.port), 5) as peer:
            peer.settimeout(10)
            peer.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 4)
            while peer.recv(4096):
                pass
        eventually(lambda: "not Dask's protocol" in proxy.log())
        with Client(proxy.address) as client:
            assert client.submit(inc, 1, key="after").result() == 2
    finally:
        proxy.close()


# ---- internals ----


def test_internals_agree_with_stock():
    from distributed.scheduler import ALL_TASK_STATES, SchedulerState

    states = json.loads(cask("internals", "states", "--json"))
    assert {row["name"] for row in states} == ALL_TASK_STATES
    ours = {(row["name"], move["to"]) for row in states for move in row["moves"]}
    assert ours == set(SchedulerState._TRANSITIONS_TABLE)
    dot = cask("internals", "states", "--dot")
    assert dot.startswith("digraph") and dot.count("->") == len(ours)
    messages = json.loads(cask("internals", "messages", "--json"))
    register = next(m for m in messages if m["op"] == "register-client")
    assert [f["name"] for f in register["fields"]][0] == "client"
    for table in "events", "actions", "worker-events", "worker-actions", "errors":
        assert len(json.loads(cask("internals", table, "--json"))) > 10
        assert not [line for line in cask("internals", table).splitlines() if line != line.rstrip()]
        assert table in cask("internals", "--help")


def test_internals_of_the_worker_agree_with_stock():
    from distributed.worker_state_machine import TaskStateState, WorkerState

    states = json.loads(cask("internals", "worker-states", "--json"))
    assert {row["name"] for row in states} == set(typing.get_args(TaskStateState))
    ours = {(row["name"], move["to"]) for row in states for move in row["moves"]}
    assert ours == set(WorkerState._TRANSITIONS_TABLE)
    assert cask("internals", "worker-states", "--dot").count("->") == len(ours)


def test_completion_is_bash():
    script = cask("internals", "options", "--completion")
    script += '\nCOMP_WORDS=(cask scheduler --sch); COMP_CWORD=2; _cask; echo "${COMPREPLY[@]}"'
    result = subprocess.run(["bash", "-c", script], capture_output=True, text=True)
    assert result.stdout.strip() == "--scheduler-file", result.stderr


# ---- the scheduler's life ----


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_signals_close_it_in_order(signum, tmp_path):
    pid, file = tmp_path / "pid", tmp_path / "file.json"
    scheduler = Scheduler("--pid-file", str(pid), "--scheduler-file", str(file))
    try:
        eventually(lambda: pid.exists() and file.exists(), 10, "both files are there")
        assert json.loads(file.read_text())["address"] == scheduler.address
        os.kill(scheduler.pid, signum)
        assert scheduler.wait() == 0
        log = scheduler.log()
        assert f"Scheduler at: {scheduler.address:>25}" in log
        assert f"Stopped scheduler at '{scheduler.address}'" in log and "End scheduler" in log
        assert not pid.exists() and not file.exists()
    finally:
        scheduler.close()


def test_idle_timeout(make_cluster, connect):
    """It ends when nothing was done for so long, not while something is"""
    cluster = make_cluster(scheduler_options=["--idle-timeout", "5s"])
    future = connect(cluster).submit(slowinc, 1, delay=6)
    cluster.start_workers("w")  # however slowly: a task that waits for a worker is something
    assert future.result() == 2
    assert cluster.scheduler.wait(60) == 0
    assert "after being idle for 5" in cluster.scheduler.log()


def test_several_listeners(tmp_path):
    ports = free_port(), free_port()
    scheduler = Scheduler("--protocol", "tcp,ws", ports=ports)
    try:
        for address in f"tcp://127.0.0.1:{ports[0]}", f"ws://127.0.0.1:{ports[1]}":
            line = f"Scheduler at: {address:>25}"
            eventually(lambda line=line: line in scheduler.log(), 10, "both are told")
            assert "0 workers" in cask("status", address)
    finally:
        scheduler.close()
    for wrong in (
        ["--port", "1,2", "--protocol", "tcp,tcp,tcp"],
        ["--port", "70000"],
        ["--port", "8786x"],
        ["--protocol", "ftp"],
        ["--host", "127.0.0.1:1", "--port", "2"],
        ["--host", "127.0.0.1", "--interface", "lo"],
        ["--interface", "nonsense0"],
        ["--protocol", "tls"],
    ):
        assert cask("scheduler", *wrong, code=1).strip()


def test_preload_takes_options_that_cask_lacks(tmp_path):
    """Stock: `--preload module --its-option 1`; the rest of the line is the module's"""
    module = tmp_path / "mod.py"
    module.write_text(
        "import click, pathlib\n"
        "@click.command()\n@click.option('--flavour')\n"
        "def dask_setup(scheduler, flavour):\n"
        f"    pathlib.Path({str(tmp_path / 'out')!r}).write_text(flavour)\n"
    )
    scheduler = Scheduler("--preload", str(module), "--flavour", "mint")
    try:
        eventually(lambda: (tmp_path / "out").exists() and (tmp_path / "out").read_text() == "mint", 60)
    finally:
        scheduler.close()


def spelled(option):
    """How it stands on a command line"""
    switch = option["kind"] == "switch" or (option["kind"] == "ignored" and not option["argument"])
    return {f"--{option['name']}"} | ({f"--no-{option['name']}"} if switch else set())


def test_help_and_man_pages_have_every_option():
    """The build makes the pages from man/ and the table of options, and puts them beside the program"""
    table = json.loads(cask("internals", "options", "--json"))
    folder = pathlib.Path(CASK).parent / "man"
    assert {path.stem for path in folder.glob("*.1")} == {"cask", *(f"cask-{row['command']}" for row in table)}
    for row in table:
        known = set().union({"--help", "--version"}, *map(spelled, row["options"]))
        page = (folder / f"cask-{row['command']}.1").read_text().replace("\\", "")
        assert "@" not in page
        options = page[page.index(".SH OPTIONS") : page.index(".SH DESCRIPTION")]
        for text in cask(row["command"], "--help"), options:
            headings = re.findall(r"^(?:  |\.B )(--.*)", text, re.MULTILINE)
            assert set(re.findall(r"--[a-z][a-z-]*", " ".join(headings))) == known, row["command"]
