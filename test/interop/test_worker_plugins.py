"""Every plugin that comes with distributed, on cask workers; and classes of workers."""

from __future__ import annotations

import importlib
import os
import sys
import zipfile

import pytest
from distributed import Client, CondaInstall, PipInstall, UploadDirectory
from distributed.diagnostics.plugin import ForwardOutput, InstallPlugin, SchedulerUploadFile, UploadFile

import harness
from worker_clusters import make_cluster  # noqa: F401  (a fixture)


def value_of(module):
    importlib.invalidate_caches()
    return importlib.import_module(module).VALUE


def make_wheel(folder, name):
    """The smallest wheel there is: one module"""
    path = folder / f"{name}-1.0-py3-none-any.whl"
    info = f"{name}-1.0.dist-info"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr(f"{name}.py", "VALUE = 'installed'\n")
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")
    return path


@pytest.mark.parametrize("restart", [False, True])
def test_pip_install(make_cluster, tmp_path, restart):
    """On the scheduler and on all workers; with restart_workers by the nannies, and the executors are new"""
    wheel = make_wheel(tmp_path, "cask_test_wheel")
    target = tmp_path / "site"
    options = ["--no-index", "--no-deps", "--quiet", "--upgrade", "--target", str(target)]
    path = os.pathsep.join([str(harness.HERE), str(target)])
    cluster = make_cluster("alice", nanny=True, env={"PYTHONPATH": path})
    before = cluster.addresses()["alice"]
    with Client(cluster.address, timeout=60) as client:
        client.register_plugin(PipInstall([str(wheel)], pip_options=options, restart_workers=restart))
        assert client.submit(value_of, "cask_test_wheel").result(timeout=60) == "installed"
        assert (cluster.addresses()["alice"] != before) == restart


def test_pip_install_that_fails(make_cluster):
    cluster = make_cluster("alice", nanny=True)
    with Client(cluster.address, timeout=60) as client:
        with pytest.raises(RuntimeError, match="pip install failed"):
            client.register_plugin(PipInstall(["no-such-package"], pip_options=["--no-index"]))


CONDA = """
import os

class Commands:
    INSTALL = "install"

def run_command(*arguments):
    with open(os.environ["CASK_TEST_CONDA"], "a") as file:
        file.write(f"{os.getpid()} {arguments}\\n")
    return "", b"", 0
"""


def test_conda_install(make_cluster, tmp_path):
    """With a stand-in for conda: asked by the scheduler's side and by the worker"""
    package = tmp_path / "conda" / "cli"
    package.mkdir(parents=True)
    (tmp_path / "conda" / "__init__.py").touch()
    (package / "__init__.py").touch()
    (package / "python_api.py").write_text(CONDA)
    asked = tmp_path / "asked"
    path = os.pathsep.join([str(harness.HERE), str(tmp_path)])
    cluster = harness.Cluster(env={"PYTHONPATH": path, "CASK_TEST_CONDA": str(asked)})
    try:
        cluster.start_workers("alice", nanny=True, command=harness.CASK_WORKER)
        with Client(cluster.address, timeout=60) as client:
            client.register_plugin(CondaInstall(["thing"], conda_options=["--yes"]))
        lines = asked.read_text().splitlines()
        assert len(lines) == len({line.split()[0] for line in lines}) == 2
        assert all("['--yes', 'thing']" in line for line in lines)
    finally:
        cluster.close()


def test_install_plugin(make_cluster, tmp_path):
    """Any function, run in a process of the nanny before the workers restart"""
    notes = tmp_path / "notes"

    def install():
        with open(notes, "a") as file:
            file.write(f"{os.getpid()}\n")

    cluster = make_cluster("alice", "bob", nanny=True)
    with Client(cluster.address, timeout=60) as client:
        client.register_plugin(InstallPlugin(install, restart_workers=True))
        nannies = {str(pid) for pid in client.run(os.getpid, nanny=True).values()}
        assert nannies <= set(notes.read_text().split())
        workers = {str(pid) for pid in client.run(os.getpid).values()}
        assert workers.isdisjoint(notes.read_text().split())


@pytest.mark.parametrize("restart", [False, True])
def test_upload_directory(make_cluster, tmp_path, restart):
    """A package is importable by its name, and by what is in it with update_path"""
    name = f"cask_test_package_{restart}".lower()
    package = tmp_path / name
    package.mkdir()
    (package / "__init__.py").write_text("VALUE = 'a package'\n")
    (package / f"{name}_inside.py").write_text("VALUE = 'inside'\n")
    scratch = tmp_path / "scratch"
    cluster = make_cluster("alice", nanny=True, options=["--local-directory", str(scratch)])
    with Client(cluster.address, timeout=60) as client:
        client.register_plugin(UploadDirectory(str(package), restart_workers=restart, update_path=True))
        assert (scratch / "dask-scratch-space" / name / "__init__.py").exists()
        assert client.submit(value_of, name).result(timeout=60) == "a package"
        if not restart:
            client.restart(timeout=60)
        assert client.submit(value_of, f"{name}_inside").result(timeout=60) == "inside"


@pytest.mark.parametrize("kind", ["py", "zip", "egg"])
def test_upload_file(make_cluster, tmp_path, kind):
    """Modules and archives of them, which executors that come later have as well"""
    name = f"cask_test_upload_{kind}"
    source = tmp_path / f"{name}.py"
    source.write_text("VALUE = 'uploaded'\n")
    path = tmp_path / f"{name}.{kind}"
    if kind != "py":
        with zipfile.ZipFile(path, "w") as archive:
            archive.write(source, source.name)
    cluster = make_cluster("alice", nanny=True)
    with Client(cluster.address, timeout=60) as client:
        client.upload_file(str(path))
        assert client.submit(value_of, name).result() == "uploaded"
        client.run(os.getpid)
        with pytest.raises(Exception, match="exit"):
            client.submit(os._exit, 1, retries=0).result()
        assert client.submit(value_of, name, pure=False).result(timeout=60) == "uploaded"


def test_upload_plugins(make_cluster, tmp_path):
    path = tmp_path / "cask_test_by_plugin.py"
    path.write_text("VALUE = 'by plugin'\n")
    cluster = make_cluster("alice")
    with Client(cluster.address, timeout=60) as client:
        client.register_plugin(UploadFile(str(path)))
        client.register_plugin(SchedulerUploadFile(str(path)))
        assert client.submit(value_of, "cask_test_by_plugin").result() == "by plugin"
        assert client.run_on_scheduler(value_of, "cask_test_by_plugin") == "by plugin"


def test_forward_output(make_cluster, capsys):
    def speak():
        print("to all of you")
        print("and in trouble", file=sys.stderr)

    cluster = make_cluster("alice")
    with Client(cluster.address, timeout=60) as client:
        client.register_plugin(ForwardOutput())
        client.submit(speak).result()
        said = {"out": "", "err": ""}

        def heard():
            out, err = capsys.readouterr()
            said["out"] += out
            said["err"] += err
            return "to all of you" in said["out"] and "and in trouble" in said["err"]

        harness.eventually(heard)


# ---- classes ----

CLASSES = """
from distributed import Worker

class Greeting(Worker):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.handlers["greet"] = self.greet
        self.greeted = 0

    def greet(self, name):
        self.greeted += 1
        return f"hello {name} from {self.name}"

class Executing(Greeting):
    async def execute(self, key, *, stimulus_id):
        raise RuntimeError("never called")

class Other:
    pass
"""


def start_class(make_cluster, folder, name, **options):
    (folder / "cask_test_classes.py").write_text(CLASSES)
    path = os.pathsep.join([str(harness.HERE), str(folder)])
    return make_cluster(
        "alice", options=["--worker-class", name], env={"PYTHONPATH": path}, **options
    )


def test_worker_class(make_cluster, tmp_path):
    """get_worker() is one, and what it adds can be asked of the worker"""
    cluster = start_class(make_cluster, tmp_path, "cask_test_classes.Greeting")
    with Client(cluster.address, timeout=20) as client:
        address = cluster.addresses()["alice"]
        assert harness.ask(address, "greet", name="bob") == "hello bob from alice"
        names = client.run(lambda dask_worker: (type(dask_worker).__name__, dask_worker.greeted))
        assert list(names.values()) == [("Greeting", 1)]
        assert client.submit(sum, [1, 2]).result() == 3


@pytest.mark.parametrize(
    "name, said",
    [
        ("cask_test_classes.Executing", "cannot be overridden: execute"),
        ("cask_test_classes.Other", "no subclass of dask.distributed.Worker"),
        ("cask_test_classes.Nothing", "Nothing"),
    ],
)
def test_a_class_that_cannot_be(make_cluster, tmp_path, name, said):
    cluster = start_class(make_cluster, tmp_path, name, wait=False)
    assert cluster.workers["alice"].wait(30) == 1
    assert said in cluster.workers["alice"].log()
