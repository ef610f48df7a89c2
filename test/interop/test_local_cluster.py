"""cask.LocalCluster: the arguments and the life of a cluster in Python, as distributed's own tests have them for
stock's LocalCluster (distributed/deploy/tests/test_local.py), with processes."""

import asyncio
import gc
import os
import subprocess
import sys
import warnings

import dask
import distributed
import psutil
import pytest
from dask.system import CPU_COUNT
from dask.utils import parse_bytes
from distributed import Nanny, Security
from distributed.core import Status
from distributed.system import MEMORY_LIMIT
from distributed.utils import TimeoutError as DaskTimeoutError

import cask
from cask import Client, LocalCluster
from harness import ROOT, clean_environment, eventually, free_port
from tasks import inc


@pytest.fixture(scope="module")
def local():
    with LocalCluster(n_workers=2, threads_per_worker=1) as cluster:
        yield cluster


@pytest.fixture
def local_client(local):
    with Client(local) as client:
        yield client


def run_python(code, **environment):
    return subprocess.run(
        [sys.executable, "-Wi", "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
        env=clean_environment({"PYTHONPATH": f"{ROOT}/python", **environment}),
    )


def test_work(local, local_client):
    future = local_client.submit(inc, 1)
    assert future.result() == 2
    assert set(local_client.nthreads().values()) == {1}
    assert future.key in local.scheduler.tasks
    assert [w.data[future.key] for w in local.workers.values() if future.key in w.data] == [2]
    assert local_client.loop is local.loop


def test_client_by_address(local):
    with Client(local.scheduler.address) as client:
        assert client.submit(inc, 4).result() == 5
    assert local.scheduler_address == local.scheduler.address
    assert local.scheduler.address == f"tcp://127.0.0.1:{local.scheduler.port}"


def test_get_client(local):
    client = local.get_client()
    with client:
        assert local.get_client() is client
        assert client.submit(inc, 1).result() == 2


def test_arguments_of_a_client_go_to_its_cluster():
    with Client(n_workers=1, threads_per_worker=3, name="mine") as client:
        cluster = client.cluster
        assert isinstance(cluster, LocalCluster)
        assert list(client.nthreads().values()) == [3]
        assert client.submit(inc, 1).result() == 2
    assert cluster.status == Status.closed
    assert not cluster.scheduler.is_alive()
    with pytest.raises(ValueError, match="n_workers"):
        Client("tcp://127.0.0.1:8786", n_workers=2)


def test_a_cluster_without_workers():
    with LocalCluster(n_workers=0) as cluster:
        assert cluster.workers == {}
        assert cluster.dashboard_link == ""


@pytest.mark.parametrize(
    "given, expected",
    [
        ({}, None),
        ({"n_workers": 2}, (2, max(1, (CPU_COUNT + 1) // 2))),
        ({"threads_per_worker": CPU_COUNT * 2}, (1, CPU_COUNT * 2)),
        ({"n_workers": CPU_COUNT * 2}, (CPU_COUNT * 2, 1)),
        ({"n_workers": 3, "threads_per_worker": 2}, (3, 2)),
    ],
)
def test_shape(given, expected):
    """As many workers, threads and bytes as stock's would have; nothing is started to find that out"""

    async def shapes():
        ours = LocalCluster(**given, asynchronous=True)
        stock = distributed.LocalCluster(**given, asynchronous=True)
        return [
            (len(c.worker_spec), c.new_spec["options"]["nthreads"], c.new_spec["options"]["memory_limit"])
            for c in (ours, stock)
        ]

    ours, stock = asyncio.run(shapes())
    assert ours == stock
    assert expected is None or ours[:2] == expected
    assert ours[0] * ours[2] <= MEMORY_LIMIT


def test_close_twice():
    cluster = LocalCluster(n_workers=0)
    port = cluster.scheduler.port
    cluster.close()
    cluster.close()
    with pytest.raises(RuntimeError, match="already closed"):
        Client(cluster)
    with LocalCluster(n_workers=0, scheduler_port=port) as again:
        assert again.scheduler.port == port


def test_two_clusters(local, local_client):
    with LocalCluster(n_workers=1, name="other") as other, Client(other, set_as_default=False) as client:
        assert other.name == "other"
        assert other.scheduler_address != local.scheduler_address
        assert client.submit(os.getpid).result() != local_client.submit(os.getpid).result()


def test_a_port_that_is_taken(local):
    with pytest.raises(RuntimeError, match=f"(?s)scheduler ended with exit code 1.*{local.scheduler.port}"):
        LocalCluster(n_workers=0, scheduler_port=local.scheduler.port)


def test_a_worker_that_cannot_start():
    with pytest.raises(RuntimeError, match="(?s)worker 0 ended with exit code [12].*no_such_interface"):
        LocalCluster(n_workers=1, interface="no_such_interface", scheduler_kwargs={"interface": "lo"})


def test_death_timeout():
    with pytest.raises((TimeoutError, DaskTimeoutError), match="death_timeout"):
        LocalCluster(n_workers=1, death_timeout=1e-10)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"protocol": "inproc://"}, "use tcp://"),
        ({"plugins": [object()]}, "Client.register_plugin"),
        ({"data": dict}, "worker_class=distributed.Nanny"),
        ({"scheduler_kwargs": {"jupyter": True}}, "jupyter beside it"),
        ({"scheduler_kwargs": {"no_such": 1}}, "unexpected keyword argument 'no_such' for a scheduler"),
        ({"no_such": 1}, "unexpected keyword argument 'no_such' for a worker"),
        ({"security": "yes"}, "Security object"),
    ],
)
def test_arguments_that_cannot_be(arguments, message):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        with pytest.raises((TypeError, ValueError), match=message):
            LocalCluster(n_workers=0, **arguments)
        gc.collect()
    assert not [w for w in caught if "unclosed cluster" in str(w.message)]  # there was none


def test_options_of_workers(tmp_path):
    preload = tmp_path / "loaded.py"
    preload.write_text("import os\nos.environ['LOADED'] = 'yes'\n")
    nannys = tmp_path / "loaded_by_nanny.py"
    nannys.write_text("def dask_setup(nanny):\n    nanny.env['LOADED_BY_NANNY'] = nanny.name\n")
    options = {
        "memory_limit": "300 MiB",
        "resources": {"GPU": 2, "MEM": 1e9},
        "local_directory": str(tmp_path / "space"),
        "preload": str(preload),
        "preload_nanny": str(nannys),
        "env": {"COLOUR": "blue"},
        "config": {"test-local-cluster": {"answer": 42}},
    }
    with LocalCluster(n_workers=1, threads_per_worker=2, **options) as cluster, Client(cluster) as client:
        (info,) = client.scheduler_info()["workers"].values()
        assert info["memory_limit"] == parse_bytes("300 MiB")
        assert info["resources"] == {"GPU": 2, "MEM": 1e9}
        assert info["local_directory"].startswith(options["local_directory"])
        assert info["name"] == 0
        assert client.submit(os.getenv, "COLOUR", resources={"GPU": 1}).result() == "blue"
        assert client.submit(os.getenv, "LOADED", pure=False).result() == "yes"
        assert client.submit(os.getenv, "LOADED_BY_NANNY", pure=False).result() == "0"
        assert client.submit(dask.config.get, "test-local-cluster.answer").result() == 42
        worker = cluster.workers[0]
        assert (worker.nthreads, worker.memory_limit) == (2, parse_bytes("300 MiB"))
        assert worker.local_directory == info["local_directory"]
        assert worker.address in client.nthreads()


def test_settings_reach_all_processes():
    settings = {"distributed.scheduler.allowed-failures": 7, "test-local-cluster": {"pool": object(), "n": 1}}
    with dask.config.set(settings), LocalCluster(n_workers=1) as cluster, Client(cluster) as client:
        assert client.run_on_scheduler(lambda dask_scheduler: dask_scheduler.allowed_failures) == 7
        assert client.submit(dask.config.get, "test-local-cluster").result() == {"n": 1}


def test_settings_stand_above_variables(monkeypatch):
    monkeypatch.setenv("DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES", "5")
    monkeypatch.setenv("DASK_MY_OWN", "kept")
    with dask.config.set({"distributed.scheduler.allowed-failures": 7, "my-own": "kept"}):
        with LocalCluster(n_workers=0, scheduler_kwargs={"validate": True}) as cluster:
            assert cluster.scheduler.allowed_failures == 7
            assert cluster.scheduler.validate is True
            environment = psutil.Process(cluster.scheduler.pid).environ()
            assert environment["DASK_MY_OWN"] == "kept"


def test_modules_beside_the_program(tmp_path):
    (tmp_path / "helper_of_user.py").write_text("def triple(x):\n    return 3 * x\n")
    program = tmp_path / "program.py"
    program.write_text(
        "from cask import Client\nimport helper_of_user\n"
        "with Client(n_workers=1) as client:\n    print(client.submit(helper_of_user.triple, 14).result())\n"
    )
    environment = clean_environment({"PYTHONPATH": f"{ROOT}/python"})
    told = subprocess.run(
        [sys.executable, "-Wi", str(program)], env=environment, cwd="/", capture_output=True, text=True, timeout=60
    )
    assert (told.stdout, told.stderr) == ("42\n", "")


def test_modules_behind_all_others(tmp_path):
    """as here: Python's own are found first"""
    for name in ("queue", "json", "dask"):
        (tmp_path / f"{name}.py").write_text("raise RuntimeError('this is another one')\n")
    (tmp_path / "helper_of_user.py").write_text("def triple(x):\n    return 3 * x\n")
    program = (
        f"import sys; sys.path.append({str(tmp_path)!r})\n"
        "from cask import Client\nimport helper_of_user\n"
        "with Client(n_workers=1) as client:\n"
        "    print(client.submit(helper_of_user.triple, 14).result())\n"
        "    print(client.run_on_scheduler(helper_of_user.triple, 1))\n"
    )
    environment = clean_environment({"PYTHONPATH": f"{ROOT}/python"})
    told = subprocess.run(
        [sys.executable, "-Wi", "-c", program], env=environment, cwd="/", capture_output=True, text=True, timeout=60
    )
    assert (told.stdout, told.stderr) == ("42\n3\n", "")


def test_blocked_handlers():
    with LocalCluster(n_workers=0, blocked_handlers=["run_function"]) as cluster, Client(cluster) as client:
        with pytest.raises(ValueError, match="'run_function' handler has been explicitly disallowed in Scheduler"):
            client.run_on_scheduler(inc, 42)


def test_scheduler_file(tmp_path):
    path = tmp_path / "scheduler.json"
    path.write_text("{}")  # of a cluster that was killed
    with LocalCluster(n_workers=0, scheduler_kwargs={"scheduler_file": str(path)}) as cluster:
        with Client(scheduler_file=str(path)) as client:
            assert client.scheduler.address == cluster.scheduler_address
    assert not path.exists()


@pytest.mark.parametrize("temporary", [True, False])
def test_tls(temporary, security):
    given = True if temporary else security
    with LocalCluster(n_workers=1, security=given) as cluster, Client(cluster) as client:
        assert cluster.scheduler_address.startswith("tls://")
        assert client.security is cluster.security
        assert client.submit(inc, 1).result() == 2
        (address,) = client.nthreads()
        assert address.startswith("tls://")
        assert set(cluster.scheduler.workers) == {address}

        def nested():
            with distributed.worker_client() as inner:
                return inner.submit(inc, 2).result()

        assert client.submit(nested).result() == 3


def test_security_of_a_client():
    with Client(security=True, n_workers=0) as client:
        assert client.cluster.scheduler_address.startswith("tls://")
        assert isinstance(client.security, Security)


def test_scale():
    with LocalCluster(n_workers=0, threads_per_worker=2, memory_limit="200 MiB") as cluster, Client(cluster) as client:
        cluster.scale(1)
        client.wait_for_workers(1)
        future = client.scatter("only here")
        cluster.scale(cores=4)
        client.wait_for_workers(2)
        assert len(cluster.worker_spec) == 2
        cluster.scale(memory="200 MiB")
        eventually(lambda: len(cluster.scheduler.workers) == 1 == len(cluster.workers))
        assert future.result() == "only here"  # what only the one had that left


def test_adapt():
    with LocalCluster(n_workers=0, threads_per_worker=1) as cluster, Client(cluster) as client:
        cluster.adapt(minimum=0, maximum=2, interval="20 ms", wait_count=2)
        assert client.submit(inc, 1).result() == 2
        eventually(lambda: not cluster.scheduler.workers and not cluster.workers, message="no worker is kept")
        cluster.adapt(minimum=2, maximum=2, interval="20 ms")
        eventually(lambda: len(cluster.scheduler.workers) == 2)


def test_asynchronous():
    async def story():
        async with LocalCluster(n_workers=1, asynchronous=True) as cluster:
            async with Client(cluster, asynchronous=True) as client:
                future = client.submit(inc, 1)
                assert await future == 2
                assert cluster.scheduler.tasks[future.key].state == "memory"  # within the loop
                cluster.scale(2)
                await cluster
                assert len(cluster.scheduler.workers) == 2
        assert cluster.status == Status.closed
        async with Client(asynchronous=True, n_workers=0) as client:
            assert isinstance(client.cluster, LocalCluster)

    asyncio.run(story())


def test_stock_workers():
    with LocalCluster(n_workers=1, worker_class=Nanny, plugins=()) as cluster, Client(cluster) as client:
        assert isinstance(cluster.workers[0], Nanny)
        assert client.submit(inc, 1).result() == 2
        # Both kinds in one cluster.
        cluster.worker_spec["ours"] = {
            "cls": "cask.local_cluster.processes.Worker",
            "options": {"common": cluster._common, "nthreads": 1},
        }
        cluster.sync(cluster._correct_state)
        cluster.wait_for_workers(2)
        addresses = [w.worker_address for w in cluster.workers.values()]
        futures = client.map(inc, range(2), workers=addresses[:1])
        assert client.submit(sum, futures, workers=addresses[1:]).result() == 3


def test_workers_in_threads():
    """processes=False: for a debugger, which wants the task in its own process"""
    with LocalCluster(processes=False, n_workers=1) as cluster, Client(cluster) as client:
        assert isinstance(cluster.workers[0], distributed.Worker)
        future = client.submit(os.getpid)
        assert future.result() == os.getpid()
        assert cluster.workers[0].data == {future.key: os.getpid()}
        assert cluster.workers[0].state.tasks[future.key].state == "memory"
        assert cluster.scheduler.pid != os.getpid()


def test_logs(local, local_client):
    local_client.submit(inc, 1).result()
    logs = local.get_logs()
    assert set(logs) == {"Cluster", "Scheduler", *local_client.nthreads()}
    assert "Register worker" in logs["Scheduler"]
    one = next(iter(local_client.nthreads()))
    assert set(local.get_logs(cluster=False, scheduler=False, workers=[one])) == {one}


@pytest.mark.parametrize("level", ["warning", "info"])
def test_silent(level):
    told = run_python(
        f"from cask import LocalCluster\nwith LocalCluster(n_workers=1, silence_logs='{level}'):\n    pass\n"
    )
    assert told.returncode == 0
    assert told.stdout == ""
    assert (told.stderr == "") == (level == "warning"), told.stderr
    assert "DEBUG" not in told.stderr


def test_representations(local):
    assert repr(local).startswith(f"LocalCluster({local.name}, '{local.scheduler_address}', workers=2, threads=2")
    html = local._repr_html_()
    assert "LocalCluster" in html and local.scheduler_address in html
    for worker in local.workers.values():
        assert worker.address in repr(worker)
    assert str(local.scheduler.pid) in repr(local.scheduler)


def test_widget_without_ipywidgets(local):
    assert local._widget() is None  # ipywidgets is not among what the tests install


def test_cluster_info(local, local_client):
    info = eventually(lambda: local_client.get_metadata("cluster-manager-info", default=None))
    assert info["type"] == "cask.LocalCluster"
    assert info["name"] == local.name


def test_metadata_of_the_scheduler(local, local_client):
    local_client.set_metadata(["a", "b"], 1)
    assert local.scheduler.get_metadata(keys=["a"]) == {"b": 1}
    assert local.scheduler.get_metadata(["c"], default=2) == 2
    with pytest.raises(KeyError):
        local.scheduler.get_metadata(["c"])


@pytest.mark.parametrize("host", ["tcp://127.0.0.1", "127.0.0.1", "", "0.0.0.0"])
def test_host(host):
    with LocalCluster(n_workers=1, host=host) as cluster, Client(cluster) as client:
        assert client.submit(inc, 1).result() == 2
        scheme = cluster.workers[0].address.partition("://")[0]
        assert scheme == "tcp"


def test_port_and_interface():
    port = free_port()
    with LocalCluster(n_workers=1, scheduler_port=port, interface="lo", protocol="tcp") as cluster:
        assert cluster.scheduler_address == f"tcp://127.0.0.1:{port}"
        assert cluster.workers[0].address.startswith("tcp://127.0.0.1:")


def test_view_is_for_reading(local, local_client):
    future = local_client.submit(inc, 10)
    future.result()
    scheduler = local.scheduler
    with pytest.raises(AttributeError, match="for reading"):
        scheduler.tasks[future.key].state = "released"
    with pytest.raises(AttributeError):
        scheduler.no_such_thing
    assert scheduler.total_nthreads == 2
    (holder,) = scheduler.tasks[future.key].who_has
    assert holder.address in scheduler.workers
    assert future.key in {ts.key for ts in holder.has_what}
    task = scheduler.tasks[future.key]
    del future
    eventually(lambda: task.state == "forgotten", message="a view that is kept shows what changes")


def test_unmodified_programs():
    code = """
from dask.distributed import Client, LocalCluster
with Client(n_workers=1) as client:
    print(type(client.cluster).__module__, client.submit(sum, [1, 2]).result())
"""
    told = run_python(code, DASK_DISTRIBUTED__CLIENT__PRELOAD="cask.preload")
    assert told.stdout == "cask 3\n", told.stderr


def test_install():
    assert distributed.LocalCluster is distributed.deploy.LocalCluster is not LocalCluster
    cask.install()
    try:
        assert distributed.LocalCluster is LocalCluster
        with distributed.Client(n_workers=0) as client:
            assert isinstance(client.cluster, LocalCluster)
    finally:
        cask.uninstall()
    assert distributed.LocalCluster is distributed.deploy.LocalCluster is not LocalCluster


def test_program_that_is_missing(tmp_path):
    with dask.config.set({"cask.program": str(tmp_path / "cask")}):
        with pytest.raises(RuntimeError, match="No such file"):
            LocalCluster(n_workers=0)
