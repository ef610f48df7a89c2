"""A task that failed, run again elsewhere with the inputs it had: from a live cluster, and when all of it is gone.

One life for each kind of worker: tasks fail in several ways, some are replayed live, then everything is killed.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import json
import os
import signal
import sqlite3
import stat
import subprocess
import sys

import harness
import pytest
from distributed import Client, wait
from harness import CASK_WORKER, KIND, Cluster, eventually
from tasks import inc
from test_observer import ON, api, base_of, child_of, gone

pytestmark = [pytest.mark.skipif(KIND != "cask", reason="stock keeps no inputs"), pytest.mark.timeout(300)]  # a loaded machine

CASK = CASK_WORKER.split()[0]
WORKERS = {"cask": CASK_WORKER, "stock": harness.WORKER_CMD}
HOSTILE = '"""{0}<img src=x onerror=alert(1)>\\'
FORGED = '"""\nraise SystemExit(0)\n"""'
EACH = 1 << 20


def by_reference(x):
    raise KeyError("needs this module")


def large(size):
    return b"x" * size


def by_value():
    """What fails travels with its task: this module cannot be imported where it is replayed"""
    import sys

    class Unlucky(Exception):
        pass

    def quotient(x, y, note=None):
        print(f"dividing {x} by {y}")
        print("on stderr", file=sys.stderr)
        return x / y

    def picky(values, table):
        raise Unlucky(f"{len(values)} values and {sorted(table)}")

    def refuses(*values):
        raise KeyError("refused")

    return quotient, picky, refuses


def replay(*arguments, code=1, text="", env=None):
    done = subprocess.run([CASK, "replay", *map(str, arguments)], capture_output=True, text=True, timeout=120, input=text, env=env)
    assert done.returncode == code, done.stdout + done.stderr
    return done


def raised(done):
    """The type that Python says it raised, last"""
    return done.stderr.strip().splitlines()[-1].split(":")[0].split(".")[-1]


def inputs_of(base, key):
    return eventually(lambda: api(base, "task", key=key)["inputs"], 30, f"the inputs of {key} are told")


def kept_in(folder):
    (path,) = folder.glob("*.db")
    with contextlib.closing(sqlite3.connect(path)) as file:
        return file.execute("SELECT count(*) FROM failed_inputs").fetchone()[0]


def submit_failures(client):
    quotient, picky, refuses = by_value()
    one, zero = client.submit(inc, 0, key="one"), client.submit(inc, -1, key="zero")
    values = client.submit(list, range(5), key=("values", 0))
    futures = [
        client.submit(quotient, one, zero, note="<b>literal</b>", key="divided"),
        client.submit(picky, values, {"a": 1}, key=("picked", 1, "x")),
        client.submit(refuses, client.submit(large, EACH + 1, key="large"), key="too-large"),
        client.submit(refuses, one, key=HOSTILE),
        client.submit(refuses, one, key=FORGED),
        client.submit(by_reference, one, key="by-reference"),
    ]
    futures.append(client.submit(inc, futures[0], key="after"))
    wait(futures)
    return futures


@pytest.fixture(scope="module", params=WORKERS)
def life(request, tmp_path_factory):
    """What was seen while it lived: {key: inputs}, live replays; afterwards, the folder of its history"""
    folder = tmp_path_factory.mktemp("replayed") / "kept"
    cluster = Cluster("--history", str(folder), env=ON)
    seen = {}
    try:
        cluster.start_workers("a", nthreads=2, command=WORKERS[request.param])
        with Client(cluster.address, timeout=20) as client:
            futures = submit_failures(client)
            base = base_of(cluster)
            for key in ("divided", "('picked', 1, 'x')", "too-large", HOSTILE):
                seen[key] = inputs_of(base, key)
            seen["around"] = api(base, "neighbourhood", key="after", hops=2)
            seen["attempts"] = api(base, "attempts", key="divided", workers="1,2,nonsense,4294967295")
            live = ("after", "('picked', 1, 'x')", "too-large")
            with concurrent.futures.ThreadPoolExecutor() as pool:
                for key, done in zip(live, pool.map(lambda key: replay(key, "--scheduler", cluster.address), live)):
                    seen["live", key] = raised(done)
            eventually(lambda: kept_in(folder) == 6, 30, "all inputs are in the file")
            del futures
        observer = child_of(cluster.scheduler.pid)
        cluster.kill_worker("a")
        os.kill(cluster.scheduler.pid, signal.SIGKILL)
        eventually(lambda: gone(observer), 30, "the observer has written and ended")
        (path,) = folder.iterdir()
        yield path, seen
    finally:
        cluster.close()


def test_live(life):
    """As recreate_error_locally, with large inputs too, and of what another task's failure spoiled"""
    _, seen = life
    assert {key[1]: kind for key, kind in seen.items() if isinstance(key, tuple)} == {
        "after": "ZeroDivisionError",
        "('picked', 1, 'x')": "Unlucky",
        "too-large": "KeyError",
    }


def test_what_a_page_shows(life):
    _, seen = life
    divided = seen["divided"]
    assert divided["task"]["function"] == "by_value.<locals>.quotient" and divided["task"]["kept"]
    assert divided["task"]["kwargs"] == {"note": "'<b>literal</b>'"}
    assert divided["task"]["args"] == ["<input one>", "<input zero>"]
    assert {(item["key"], item["type"], item["repr"], item["kept"]) for item in divided["inputs"]} == {
        ("one", "int", "1", True),
        ("zero", "int", "0", True),
    }
    assert divided["total"] == 2 and divided["python"].count(".") == 2 and "distributed" in divided["packages"]
    (values,) = seen["('picked', 1, 'x')"]["inputs"]
    assert values["key"] == "('values', 0)" and values["repr"] == "[0, 1, 2, 3, 4]"
    (too_large,) = seen["too-large"]["inputs"]
    assert not too_large["kept"] and "1 MiB" in too_large["why"] and too_large["nbytes"] > EACH


def test_what_its_run_cost(life, request):
    """Cask's workers remember it, as long as they live and, of what failed for good, beyond; Dask's do not"""
    _, seen = life
    (kept,) = seen["divided"]["attempts"] or [None]
    if request.node.callspec.params["life"] == "stock":
        assert kept is None and seen["attempts"] == {}
        return
    assert kept["status"] == "failed" and kept["rss_peak"] > 1 << 20 and kept["cpu_user"] >= 0
    assert "dividing 1 by 0" in kept["output"] and "on stderr" in kept["output"]
    ((_, (run,)),) = seen["attempts"].items()
    assert run["key"] == "divided" and run["output"] == kept["output"]


def test_which_task_it_was(life):
    """From one that failed for an input's sake to the one to blame, and who is around it"""
    _, seen = life
    around = seen["around"]
    assert around["path"] == ["after", "divided"] and around["blamed"] == "divided"
    keys = [task["key"] for task in around["tasks"]]
    assert keys[0] == "after" and {"divided", "one", "zero"} <= set(keys)
    assert all([keys.index(name), 1] in around["edges"] for name in ("one", "zero"))
    states = {task["key"]: (task["state"], task["hop"]) for task in around["tasks"]}
    assert states["divided"] == ("erred", 1) and states["zero"][1] == 2
    assert around["tasks"][1]["inputs_total"] == 2 and around["tasks"][1]["users_total"] == 1


@pytest.mark.parametrize("key, kind", [("('picked', 1, 'x')", "Unlucky"), (HOSTILE, "KeyError"), (FORGED, "KeyError")])
def test_after_the_end(life, key, kind):
    path, _ = life
    assert raised(replay(key, "--history", path)) == kind


def test_a_written_replay(life, tmp_path):
    """It can be kept and run by hand; it is nobody else's to read"""
    path, _ = life
    folder = tmp_path / "kept"
    replay("divided", "--history", path, "--write", folder)
    assert {stat.S_IMODE(file.stat().st_mode) for file in folder.iterdir()} == {0o600}
    done = subprocess.run([sys.executable, folder / "replay.py"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1 and raised(done) == "ZeroDivisionError"


def test_under_the_debugger(life):
    """It stops where the task fails, and the arguments are there"""
    path, _ = life
    done = replay("divided", "--history", path, "--pdb", text="p ('x', x, 'y', y)\nq\nq\n", code=0)
    assert "('x', 1, 'y', 0)" in done.stdout, done.stdout


def test_what_cannot_be_replayed(life, tmp_path):
    path, _ = life
    assert "No module named 'test_replay'" in replay("by-reference", "--history", path).stderr
    assert "larger than 1 MiB" in replay("too-large", "--history", path).stderr
    assert "no task of this name failed" in replay("one", "--history", path).stderr
    assert "nothing.db" in replay("one", "--history", tmp_path / "nothing.db").stderr
    assert "no scheduler at" in replay("one", "--scheduler", f"tcp://127.0.0.1:{harness.free_port()}", "--timeout", "1s").stderr
    replay(code=2)


def test_files_are_the_users_own(life):
    path, _ = life
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with sqlite3.connect(path) as file:
        assert file.execute("SELECT count(*) FROM failed_values").fetchone()[0] == 6
        for (text,) in file.execute("SELECT description FROM failed_inputs"):
            assert set(json.loads(text)) >= {"time", "worker", "task", "inputs", "total", "python", "packages", "log", "why"}


def dies(value):
    os.kill(os.getpid(), signal.SIGKILL)


def test_deaths_and_settings(tmp_path):
    """Of a task whose process died with it, the task and what is still there; with keep-inputs off, nothing"""
    settings = {**ON, "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "0", "DASK_DISTRIBUTED__SCHEDULER__VALIDATE": "True"}
    for keeps in (True, False):
        folder = tmp_path / str(keeps)
        cluster = Cluster("--history", str(folder), env={**settings, "DASK_CASK__HISTORY__KEEP_INPUTS": str(keeps)})
        try:
            cluster.start_workers("a", command=CASK_WORKER)
            with Client(cluster.address, timeout=20) as client:
                futures = [
                    client.submit(dies, client.submit(inc, 1, key="two"), key="dead"),
                    client.submit(by_value()[2], key="alone", retries=1),
                ]
                wait(futures)
                base = base_of(cluster)
                if keeps:
                    dead = inputs_of(base, "dead")
                    assert dead["task"]["kept"] and [item["key"] for item in dead["inputs"]] == ["two"], dead
                    assert inputs_of(base, "alone")["total"] == 0
                eventually(lambda: api(base, "task", key="alone")["failures"], 30, "the failure is told")
                assert (api(base, "task", key="alone")["inputs"] is not None) == keeps
            eventually(cluster.empty, 30, "what was held is let go")
        finally:
            cluster.close()


def test_from_a_scheduler_of_dasks():
    """With inputs that it released, of a key that looks like an option"""
    cluster = Cluster(command=f"{sys.executable} -m dask scheduler --no-dashboard")
    try:
        cluster.start_workers("a")
        with Client(cluster.address, timeout=20) as client:
            failed = client.submit(by_value()[0], client.submit(inc, 0), 0, key="--divided")
            wait(failed)
            assert raised(replay("--scheduler", cluster.address, "--", "--divided")) == "ZeroDivisionError"
    finally:
        cluster.close()
