"""The processes of a Dask cluster, for the tests: the scheduler under test and stock workers.

The scheduler is whatever $CASK_SCHEDULER_CMD says (default: build/cask scheduler); everything
else is stock Dask from the Python that runs the tests.  Every process has its own session, so
that killing its group leaves nothing behind, and dies with the tests.  Nothing here sleeps for
a fixed time: `eventually` polls.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import os
import pathlib
import random
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

from distributed.core import rpc

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent


def from_anywhere(command):
    """The command with the path of its program made absolute: processes have folders of their own"""
    program, *arguments = shlex.split(command)
    return shlex.join([os.path.abspath(program) if os.sep in program else program, *arguments])


SCHEDULER_CMD = from_anywhere(os.environ.get("CASK_SCHEDULER_CMD", f"{ROOT}/build/cask scheduler"))
# Where stock is known to be wrong, a test may ask which scheduler it is talking to.
KIND = "cask" if "cask" in os.path.basename(shlex.split(SCHEDULER_CMD)[0]) else "stock"

# What starts a worker; its first argument is the scheduler's address.
WORKER_CMD = from_anywhere(os.environ.get("CASK_WORKER_CMD", f"{sys.executable} -m dask worker"))
CASK_WORKER = f"{shlex.split(SCHEDULER_CMD)[0] if KIND == 'cask' else f'{ROOT}/build/cask'} worker"

# The history of tests is not the user's.
os.environ["XDG_STATE_HOME"] = tempfile.mkdtemp(prefix="interop-state-")
atexit.register(shutil.rmtree, os.environ["XDG_STATE_HOME"], ignore_errors=True)

live: list[Process] = []  # newest last; what a failed test shows the logs of


class Ended(BaseException):
    """A process ended that should run: no use in polling on"""


def eventually(condition, timeout=30, message=""):
    """Poll until condition() is true; returns its value.  Errors of the last try are shown"""
    deadline = time.monotonic() + timeout
    pause = 0.005
    while True:
        error = None
        try:
            value = condition()
        except Exception as caught:
            value, error = None, caught
        if value:
            return value
        if time.monotonic() > deadline:
            what = message or "condition"
            raise TimeoutError(f"{what} not true after {timeout} s, last: {value!r}") from error
        time.sleep(pause)
        pause = min(pause * 1.5, 0.1)


def clip(text, lines=40, columns=200):
    """The last lines of a text, none of them long: for people, and for a CI that shows little"""
    kept = text.splitlines()[-lines:]
    return "\n".join(
        line if len(line) <= columns else f"{line[: columns - 1]}…" for line in kept
    )


def free_port(host="127.0.0.1"):
    """Below those that connecting takes (32768 on), or other tests' clients could be quicker than our scheduler"""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    while True:
        with socket.socket(family) as probe, contextlib.suppress(OSError):
            port = random.randrange(20_000, 32_000)
            probe.bind((host, port))
            return port


def ask(address, op, security=None, **arguments):
    """One RPC on a connection of its own: no Client, so the scheduler's state stays as it is"""
    connection_args = security.get_connection_args("client") if security else None

    async def call():
        async with rpc(address, connection_args=connection_args, timeout=5) as peer:
            return await getattr(peer, op)(**arguments)

    return asyncio.run(call())


def clean_environment(extra=None):
    """Ours without Dask's settings; the tests' helper modules importable everywhere"""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("DASK_")}
    path = [str(HERE), environment.get("PYTHONPATH", "")]
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, path))
    environment["CASK_PYTHON"] = sys.executable
    # Hundreds of schedulers, most of which plan nothing; test_planner.py turns it on.
    environment["DASK_CASK__PLANNER__PREWARM"] = "False"
    # Nor is every one looked at; test_observer.py turns it on.
    environment["DASK_CASK__DASHBOARD__PROCESS"] = "False"
    environment.update(extra or {})
    return environment


class Process:
    """A child with its log in a file"""

    def __init__(self, label, command, env=None, cwd=None):
        self.label = label
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix=f"interop-{label}-"))
        self.log_path = self.directory / "log"
        if shutil.which("setpriv"):  # dies even when the tests are killed
            command = ["setpriv", "--pdeathsig", "KILL", *command]
        with open(self.log_path, "wb") as log:
            self.popen = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=clean_environment(env),
                cwd=cwd or self.directory,
                start_new_session=True,
            )
        live.append(self)

    @property
    def pid(self):
        return self.popen.pid

    @property
    def alive(self):
        return self.popen.poll() is None

    def log(self):
        return self.log_path.read_text(errors="replace")

    def kill(self, signum=signal.SIGKILL):
        """Kill the whole group: a nanny goes with its worker"""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.pid, signum)

    def wait(self, timeout=15):
        return self.popen.wait(timeout)

    def close(self):
        self.kill()
        self.popen.wait()
        if self in live:
            live.remove(self)
        shutil.rmtree(self.directory, ignore_errors=True)


class Scheduler(Process):
    """The scheduler under test"""

    def __init__(self, *options, host="127.0.0.1", ports=(), env=None, command=None):
        scheme, _, name = host.rpartition("://")
        name = name.strip("[]")
        self.protocol = scheme or "tcp"
        ports = ports or [free_port(name)]
        self.port = ports[0]
        command = shlex.split(command or SCHEDULER_CMD)
        command += ["--host", host, "--port", ",".join(map(str, ports))]
        options = ("--dashboard-address", "127.0.0.1:0", *options)
        super().__init__("scheduler", [*command, *options], env)
        netloc = f"[{name}]" if ":" in name else name
        self.address = f"{self.protocol}://{netloc}:{self.port}"
        eventually(lambda: self.listens(name), 30, "the scheduler listens")

    def listens(self, name):
        if not self.alive:
            raise Ended(f"{self.label} ended with {self.popen.poll()}: {self.log()[-2000:]}")
        with contextlib.suppress(OSError), socket.create_connection((name, self.port), 1):
            return True


class Worker(Process):
    """`dask worker`, or another command that is one; with a nanny only if asked"""

    def __init__(
        self, address, name, *options, nthreads=1, nanny=False, memory="1GiB", env=None, command=None
    ):
        self.name = name
        command = [*shlex.split(command or WORKER_CMD), address, "--name", name]
        command += ["--nthreads", str(nthreads), "--memory-limit", memory]
        command += ["--nanny" if nanny else "--no-nanny", "--no-dashboard"]
        super().__init__(name, [*command, *options], env)


class Cluster:
    """A scheduler and its workers, by name"""

    def __init__(
        self, *scheduler_options, host="127.0.0.1", ports=(), env=None, security=None, command=None
    ):
        self.security = security
        self.env = env or {}
        self.scheduler = Scheduler(
            *scheduler_options, host=host, ports=ports, env=self.env, command=command
        )
        self.address = self.scheduler.address
        self.workers: dict[str, Worker] = {}

    def start_workers(self, *names, options=(), wait=True, **kwargs):
        """Start all at once, then wait until the scheduler has them running"""
        kwargs["env"] = {**self.env, **(kwargs.get("env") or {})}
        for name in names:
            self.workers[name] = Worker(self.address, name, *options, **kwargs)
        if wait:
            self.wait_for(*names)

    def wait_for(self, *names):
        eventually(lambda: set(names) <= set(self.addresses()), 60, f"workers {names} run")

    def ask(self, op, **arguments):
        return ask(self.address, op, self.security, **arguments)

    def infos(self):
        """Name → what the scheduler says of the worker, of those that run"""
        workers = self.ask("identity", n_workers=-1)["workers"].values()
        return {w["name"]: w for w in workers if w["status"] in ("running", "paused")}

    def addresses(self):
        """Name → address"""
        running = self.ask("ncores_running")
        workers = self.ask("identity", n_workers=-1)["workers"]
        return {w["name"]: address for address, w in workers.items() if address in running}

    def kill_worker(self, name, signum=signal.SIGKILL):
        """With its nanny, if it has one; returns when the scheduler has noticed"""
        self.workers.pop(name).close()
        eventually(lambda: name not in self.addresses(), 15, f"{name} is gone")

    def empty(self):
        """The scheduler knows no task: nothing leaked"""
        return self.ask("who_has") == {}

    @property
    def healthy(self):
        if not all(p.alive for p in (self.scheduler, *self.workers.values())):
            return False
        with contextlib.suppress(Exception):
            return set(self.addresses()) == set(self.workers) and self.empty()
        return False

    def close(self):
        for process in (*self.workers.values(), self.scheduler):
            process.kill()
        for process in (*self.workers.values(), self.scheduler):
            process.close()
