"""A scheduler and workers, each stock or cask, as processes of this machine."""

from __future__ import annotations

import contextlib
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

ROOT = Path(__file__).resolve().parent.parent
BUILD = Path(os.environ.get("BUILD", ROOT / "build"))
CASK = BUILD / "cask"
KINDS = ("stock", "cask")

# What users see without a tuned configuration, but without Nanny and dashboard: they cost alike.
ENVIRONMENT = {
    **os.environ,
    "CASK_PYTHON": sys.executable,
    "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT / "python"), str(ROOT / "bench"), os.environ.get("PYTHONPATH")])),
    "PYTHONWARNINGS": "ignore",
    "DASK_LOGGING__DISTRIBUTED": "warning",
}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def command(kind: str, role: str) -> list[str]:
    return [sys.executable, "-m", "dask", role] if kind == "stock" else [str(CASK), role]


def cpu_seconds(processes: list[psutil.Process]) -> float:
    """User and system time."""
    times = [process.cpu_times() for process in processes]
    return sum(t.user + t.system for t in times)


@contextlib.contextmanager
def on_cores(cores: set[int] | None) -> Iterator[None]:
    """This thread, and what it starts meanwhile for good, runs on these only. None: where it may anyhow."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores or before)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


class Scheduler:
    """One scheduler process; `with` ends it. Without `prewarm` cask starts no planner before it needs one."""

    def __init__(self, kind: str, *, dashboard: bool = False, prewarm: bool = True) -> None:
        self.kind = kind
        self.port = free_port()
        self.address = f"tcp://127.0.0.1:{self.port}"
        self._log = tempfile.TemporaryFile()
        options = ["--dashboard-address", "127.0.0.1:0"] if dashboard else ["--no-dashboard"]
        start = time.perf_counter()
        self.process = subprocess.Popen(
            [*command(kind, "scheduler"), "--host", "127.0.0.1", "--port", str(self.port), *options],
            stdout=self._log,
            stderr=subprocess.STDOUT,
            env=ENVIRONMENT | {"DASK_CASK__PLANNER__PREWARM": str(prewarm)},
        )
        self.pid = self.process.pid
        while not self._listens():
            if self.process.poll() is not None or time.perf_counter() - start > 60:
                raise RuntimeError(f"the {kind} scheduler did not start:\n{self.log()}")
            time.sleep(0.001)
        self.startup_seconds = time.perf_counter() - start

    def _listens(self) -> bool:
        try:
            socket.create_connection(("127.0.0.1", self.port), timeout=5).close()
        except ConnectionRefusedError:
            return False
        return True

    def log(self) -> str:
        self._log.seek(0)
        return self._log.read().decode(errors="replace")

    def processes(self) -> list[psutil.Process]:
        root = psutil.Process(self.pid)
        return [root, *root.children(recursive=True)]

    def cpu_seconds(self) -> float:
        """User and system time of the scheduler and its children (cask's planner is one)."""
        return cpu_seconds(self.processes())

    def resident_bytes(self) -> int:
        return sum(process.memory_info().rss for process in self.processes())

    def __enter__(self) -> Scheduler:
        return self

    def __exit__(self, *error: object) -> None:
        self.process.terminate()
        try:
            self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self._log.close()


class Cluster:
    """A scheduler, `count` workers of one thread, and a client; `with` ends them.

    Stock workers have no nanny, unless it is asked for: cask's are worker and nanny in one and keep user code in a process
    of its own. `worker_cores`: where the workers' processes run; the others, and the client's threads, where the caller does.
    """

    def __init__(
        self,
        kind: str,
        count: int = 2,
        workers: str = "stock",
        *,
        nanny: bool = False,
        environment: dict[str, str] | None = None,
        worker_cores: set[int] | None = None,
    ) -> None:
        from distributed import Client

        self.kind = kind
        self.count = count
        self.scheduler = Scheduler(kind)
        self._folder = tempfile.TemporaryDirectory(prefix="cask-bench-")
        with on_cores(worker_cores):
            self._workers = [
                subprocess.Popen(
                    [*command(workers, "worker"), self.scheduler.address, "--nthreads", "1"]
                    + ["--nanny" if nanny else "--no-nanny", "--no-dashboard", "--memory-limit", "2GB", "--name", f"{kind}-{i}"]
                    + ["--local-directory", self._folder.name],
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.DEVNULL,
                    env=ENVIRONMENT | (environment or {}),
                )
                for i in range(count)
            ]
        self.client = Client(self.scheduler.address, set_as_default=False)
        self.client.wait_for_workers(count, timeout=120)

    def worker_processes(self) -> list[psutil.Process]:
        """The workers and the children that they have now (cask's run user code in them)."""
        workers = [psutil.Process(worker.pid) for worker in self._workers]
        return [process for worker in workers for process in (worker, *worker.children(recursive=True))]

    def workers_cpu_seconds(self) -> float:
        return cpu_seconds(self.worker_processes())

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, *error: object) -> None:
        self.client.close()
        for worker in self._workers:
            worker.terminate()
        for worker in self._workers:
            try:
                worker.wait(timeout=10)
            except subprocess.TimeoutExpired:
                worker.kill()
                worker.wait()
        self.scheduler.__exit__()
        self._folder.cleanup()


def machine() -> str:
    """One line about where the numbers come from."""
    model = re.search(r"model name\s*: (.*)", Path("/proc/cpuinfo").read_text())
    cores = os.cpu_count()
    memory = psutil.virtual_memory().total / 2**30
    load = os.getloadavg()[0]
    name = model.group(1) if model else "unknown CPU"
    return f"{name}, {cores} cores, {memory:.0f} GiB, Linux {os.uname().release}, load {load:.1f} at the start"
