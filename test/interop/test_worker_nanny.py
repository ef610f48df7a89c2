"""What a nanny does for its worker: the environment, plugins, calls. Here both are one process."""

from __future__ import annotations

import os

import pytest
from distributed import Client, NannyPlugin
from distributed.diagnostics.plugin import Environ

import harness

from worker_clusters import make_cluster  # noqa: F401  (a fixture)


def variables(names):
    return [os.environ.get(name) for name in names]


def test_hashes_agree(make_cluster):
    """Values are sent by their hash: it is the same in workers of ours, and of stock's with nannies"""
    cluster = make_cluster("alice", "bob")
    cluster.start_workers("stan", nanny=True)
    with Client(cluster.address, timeout=20) as client:
        hashes = client.run(lambda: hash("some text"))
        assert len(hashes) == 3 and len(set(hashes.values())) == 1, hashes


SETTINGS = """
distributed:
  nanny:
    pre-spawn-environ: {OMP_NUM_THREADS: 3, MKL_NUM_THREADS: null, FIRST: 1, OWN: 2}
    environ: {FIRST: 2, SECOND: two words}
"""


def test_environment_by_settings(make_cluster, tmp_path, monkeypatch):
    """environ before pre-spawn-environ before defaults; our own variables before all; null takes one away"""
    (tmp_path / "settings.yaml").write_text(SETTINGS)
    names = ["OMP_NUM_THREADS", "MKL_NUM_THREADS", "FIRST", "SECOND", "OWN", "OPENBLAS_NUM_THREADS"]
    for name in names:
        monkeypatch.delenv(name, raising=False)  # stock's nannies of other tests leave some here
    cluster = make_cluster("alice", env={"DASK_CONFIG": str(tmp_path), "OWN": "5"})
    with Client(cluster.address, timeout=20) as client:
        (found,) = client.run(variables, names).values()
        assert found == ["3", None, "2", "two words", "5", "1"]


# ---- plugins ----


class Recording(NannyPlugin):
    """Writes down when it is set up and torn down, where, and what is there then"""

    name = "recording"

    def __init__(self, path, restart=False):
        self.path = str(path)
        self.restart = restart

    def note(self, what, nanny):
        with open(self.path, "a") as file:
            file.write(f"{what} {nanny.name} {os.getpid()}\n")

    def setup(self, nanny):
        self.note("setup", nanny)
        nanny.env["CASK_TEST_BY_ENV"] = "1"
        os.environ["CASK_TEST_BY_ENVIRON"] = "2"

    def teardown(self, nanny):
        self.note("teardown", nanny)


BY_PLUGIN = ["CASK_TEST_BY_ENV", "CASK_TEST_BY_ENVIRON"]


def lines(path):
    return [line.split() for line in path.read_text().splitlines()] if path.exists() else []


def test_a_plugin_comes_before_the_worker(make_cluster, tmp_path):
    """A worker that starts after the registration: set up once, before user code, in a process that outlives it"""
    notes = tmp_path / "notes"
    cluster = make_cluster()
    with Client(cluster.address, timeout=20) as client:
        client.register_plugin(Recording(notes))
        cluster.start_workers("alice", nanny=True, command=harness.CASK_WORKER)
        assert client.submit(variables, BY_PLUGIN).result() == ["1", "2"]
        ((what, name, pid),) = lines(notes)
        assert (what, name) == ("setup", "alice")
        assert client.submit(os.getpid, pure=False).result() != int(pid)
        client.restart(timeout=60)
        assert client.submit(variables, BY_PLUGIN).result(timeout=60) == ["1", "2"]
        assert list(client.run(os.getpid, nanny=True).values()) == [int(pid)]
        assert len(lines(notes)) == 1
        client.unregister_worker_plugin("recording", nanny=True)
        assert lines(notes)[1:] == [["teardown", "alice", pid]]


def test_a_plugin_that_restarts(make_cluster, tmp_path):
    """Environ has restart = True: when it is registered, executors with the variables are there"""
    cluster = make_cluster("alice", "bob", nanny=True)
    with Client(cluster.address, timeout=20) as client:
        before = cluster.addresses()
        client.register_plugin(Environ({"CASK_TEST_BY_ENV": 7}), name="variables")
        after = harness.eventually(lambda: len(found := cluster.addresses()) == 2 and found)
        assert set(before.values()).isdisjoint(after.values())
        assert list(client.run(variables, ["CASK_TEST_BY_ENV"]).values()) == [["7"], ["7"]]


def test_a_plugin_that_does_not_restart(make_cluster, tmp_path):
    """The worker goes on as it is; who starts later finds what the plugin did"""
    cluster = make_cluster("alice", nanny=True)
    with Client(cluster.address, timeout=20) as client:
        before = cluster.addresses()
        client.register_plugin(Recording(tmp_path / "notes"))
        assert client.submit(variables, BY_PLUGIN, pure=False).result() == [None, None]
        assert cluster.addresses() == before
        client.restart(timeout=60)
        assert client.submit(variables, BY_PLUGIN, pure=False).result(timeout=60) == ["1", "2"]


def test_a_plugin_that_fails(make_cluster):
    class Fails(NannyPlugin):
        def setup(self, nanny):
            raise ZeroDivisionError("in a nanny")

    cluster = make_cluster("alice", nanny=True)
    with Client(cluster.address, timeout=20) as client:
        with pytest.raises(ZeroDivisionError, match="in a nanny"):
            client.register_plugin(Fails(), name="fails")
        assert client.submit(int).result() == 0


def test_logs(make_cluster):
    """Those of the nanny's Python are among the nanny's"""
    cluster = make_cluster("alice", nanny=True)
    with Client(cluster.address, timeout=20) as client:
        client.register_plugin(Environ({}), name="logged-one")
        (rows,) = client.get_worker_logs(nanny=True).values()
        texts = [text for _, text in rows]
        assert any("Starting Nanny plugin logged-one" in text for text in texts)
        assert any("Start Nanny at" in text for text in texts)


def test_teardown_at_the_end(make_cluster, tmp_path):
    notes = tmp_path / "notes"
    cluster = make_cluster("alice", nanny=True)
    with Client(cluster.address, timeout=20) as client:
        client.register_plugin(Recording(notes))
        cluster.workers["alice"].popen.terminate()
        assert cluster.workers["alice"].wait(20) == 0
        assert [line[0] for line in lines(notes)] == ["setup", "teardown"]


def test_death_of_the_nannys_python(make_cluster, tmp_path):
    """User code that ends it costs its own call; values stay, plugins are there again"""
    notes = tmp_path / "notes"
    cluster = make_cluster("alice", nanny=True)
    with Client(cluster.address, timeout=20) as client:
        client.register_plugin(Recording(notes))
        future = client.submit(os.getpid)
        pid = future.result()
        with pytest.raises(Exception, match="died before it answered"):
            client.run(os._exit, 3, nanny=True)
        assert list(client.run(lambda dask_worker: list(dask_worker.plugins), nanny=True).values()) == [["recording"]]
        assert [line[0] for line in lines(notes)] == ["setup", "setup"]
        assert client.submit(os.getpid, pure=False).result() == pid and future.result() == pid
        assert cluster.workers["alice"].alive


# ---- calls ----


def test_run_on_nannies(make_cluster):
    """It is the nanny that functions get as dask_worker"""
    cluster = make_cluster("alice", nanny=True)
    with Client(cluster.address, timeout=20) as client:
        info = cluster.infos()["alice"]
        address = cluster.addresses()["alice"]

        def look(dask_worker):
            nanny = dask_worker
            return type(nanny).__name__, nanny.address, nanny.name, nanny.worker_address, nanny.pid, nanny.is_alive()

        async def later(dask_worker, x):
            return await dask_worker.scheduler.echo(data=x)

        (found,) = client.run(look, nanny=True).values()
        assert found == ("Nanny", info["nanny"], "alice", address, cluster.workers["alice"].pid, True)
        assert list(client.run(later, x=5, nanny=True).values()) == [5]
        with pytest.raises(ZeroDivisionError):
            client.run(lambda: 1 / 0, nanny=True)


def test_restart_by_user_code(make_cluster):
    cluster = make_cluster("alice", nanny=True)
    with Client(cluster.address, timeout=20) as client:
        before = cluster.addresses()["alice"]

        async def restart(dask_worker):
            return await dask_worker.restart(), dask_worker.worker_address

        ((said, address),) = client.run(restart, nanny=True).values()
        assert said == "OK" and address == cluster.addresses()["alice"] != before


def test_close_by_user_code(make_cluster):
    cluster = make_cluster("alice", nanny=True)
    with Client(cluster.address, timeout=20) as client:

        async def leave(dask_worker):
            await dask_worker.close()

        client.run(leave, nanny=True, wait=False, on_error="ignore")
        assert cluster.workers["alice"].wait(20) == 0


# ---- preload modules ----

PRELOAD = """
import click

@click.command()
@click.option("--note")
def dask_setup(nanny, note):
    nanny.env["CASK_TEST_BY_ENV"] = nanny.name
    nanny.noted = note
    with open(note, "a") as file:
        print("setup", file=file)

def dask_teardown(nanny):
    with open(nanny.noted, "a") as file:
        print("teardown", file=file)
"""


def test_preload_nanny(make_cluster, tmp_path):
    """With arguments of its own; torn down at the end"""
    notes, script = tmp_path / "notes", tmp_path / "before.py"
    script.write_text(PRELOAD)
    env = {"DASK_DISTRIBUTED__NANNY__PRELOAD_ARGV": str(["--note", str(notes)])}
    cluster = make_cluster("alice", nanny=True, options=["--preload-nanny", str(script)], env=env)
    with Client(cluster.address, timeout=20) as client:
        assert client.submit(variables, ["CASK_TEST_BY_ENV"]).result() == ["alice"]
        cluster.workers["alice"].popen.terminate()
        assert cluster.workers["alice"].wait(20) == 0
        assert lines(notes) == [["setup"], ["teardown"]]


def test_preload_by_settings(make_cluster, tmp_path):
    """distributed.nanny.preload with its preload-argv, and distributed.worker.preload"""
    notes, script, other = tmp_path / "notes", tmp_path / "before.py", tmp_path / "other.py"
    script.write_text(PRELOAD)
    other.write_text("def dask_setup(worker):\n    worker.preloaded = 'yes'\n")
    settings = {
        "DASK_DISTRIBUTED__NANNY__PRELOAD": str([str(script)]),
        "DASK_DISTRIBUTED__NANNY__PRELOAD_ARGV": str(["--note", str(notes)]),
        "DASK_DISTRIBUTED__WORKER__PRELOAD": str([str(other)]),
    }
    cluster = make_cluster("alice", nanny=True, env=settings)
    with Client(cluster.address, timeout=20) as client:
        assert client.submit(variables, ["CASK_TEST_BY_ENV"]).result() == ["alice"]
        assert list(client.run(lambda dask_worker: dask_worker.preloaded).values()) == ["yes"]
        assert lines(notes) == [["setup"]]


def test_a_preload_that_cannot_be_loaded(make_cluster, tmp_path):
    script = tmp_path / "before.py"
    script.write_text("raise ValueError('not today')\n")
    cluster = make_cluster("alice", nanny=True, options=["--preload-nanny", str(script)], wait=False)
    assert cluster.workers["alice"].wait(60) == 1
    assert "not today" in cluster.workers["alice"].log()
