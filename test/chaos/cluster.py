"""A cluster that is hurt: its processes, who ended them, and what is left of them."""

from __future__ import annotations

import contextlib
import os
import pathlib
import signal
import sys
import tempfile
import threading
import uuid

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "interop"))

import harness  # noqa: E402

from links import Network  # noqa: E402
from pace import Pace  # noqa: E402

MARK = "CASK_CHAOS"  # in the environment of every process of a cluster: how to find what is left
# The ends that a worker chooses itself: asked to, or because it lost its scheduler.
GOOD_ENDS = (0, 1)
BAD_WORDS = ("Sanitizer", "runtime error:", "Assertion", "assertion failed", "ASSERT")


def children(pid):
    with contextlib.suppress(OSError):
        for thread in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{thread}/children") as file:
                yield from map(int, file.read().split())


def family(pid):
    yield pid
    for child in children(pid):
        yield from family(child)


def command_of(pid):
    with contextlib.suppress(OSError), open(f"/proc/{pid}/cmdline", "rb") as file:
        return file.read().replace(b"\0", b" ").decode(errors="replace")
    return ""


def marked(mark):
    """Processes that were started, by whomever, for a cluster"""
    wanted = f"{MARK}={mark}".encode()
    for name in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError), open(f"/proc/{name}/environ", "rb") as file:
            if wanted in file.read().split(b"\0") and int(name) != os.getpid():
                yield int(name)


class Place:
    """Where a worker runs: when it ends, another is started there, as a batch system or a nanny does"""

    def __init__(self, cluster, name, is_stock):
        self.cluster, self.name, self.is_stock = cluster, name, is_stock
        self.link = cluster.network.link("127.0.0.1", cluster.scheduler.port) if cluster.network else None
        self.peers = None
        self.worker = None
        self.our_signals = set()  # that we have sent to this worker
        self.start()

    def start(self):
        address, options = self.cluster.scheduler.address, ["--local-directory", str(self.cluster.scratch)]
        if self.link is not None:
            port = harness.free_port()
            if self.peers is not None:
                self.peers.close()
            self.peers = self.cluster.network.link("127.0.0.1", port)
            address = f"tcp://127.0.0.1:{self.link.port}"
            options += ["--listen-address", f"tcp://127.0.0.1:{port}"]
            options += ["--contact-address", f"tcp://127.0.0.1:{self.peers.port}"]
        self.our_signals = set()
        self.worker = harness.Worker(
            address,
            self.name,
            *options,
            nthreads=2,
            memory=self.cluster.memory,
            env=self.cluster.environment,
            command=None if self.is_stock else harness.CASK_WORKER,
        )

    def executors(self):
        return [pid for pid in children(self.worker.pid) if "cask.executor" in command_of(pid)]

    def ended(self):
        """It has ended: note how, and start the next"""
        code = self.worker.popen.returncode
        log = self.worker.log()
        if code not in GOOD_ENDS and -code not in self.our_signals:
            self.cluster.complain(f"{self.name} ended by itself with {code}:\n{harness.clip(log, 60)}")
        self.cluster.look_at(self.name, log)
        self.worker.close()
        self.start()


class Cluster:
    """A scheduler and `count` workers, some of them stock ones"""

    def __init__(self, count=4, stock=0, memory="1GiB", with_links=False):
        self.mark = uuid.uuid4().hex
        self.memory = memory
        self.complaints = []
        self.directory = tempfile.TemporaryDirectory(prefix="cask-chaos-")
        self.scratch = pathlib.Path(self.directory.name) / "scratch"
        self.scratch.mkdir()
        self.environment = {
            MARK: self.mark,
            "TMPDIR": self.directory.name,
            # More often no task is unlucky; one that crashes by itself does so as often before it fails, each time at the
            # cost of an executor's start (4 s on a busy machine).
            "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "12",
            "PYTHONPATH": f"{HERE}:{HERE.parent / 'interop'}",
        }
        self.network = Network() if with_links else None
        self.scheduler = harness.Scheduler(env=self.environment)
        self.places = [
            Place(self, f"{'stock' if n < stock else 'cask'}-{n}", is_stock=n < stock) for n in range(count)
        ]
        self.pace = Pace(lambda: family(os.getpid()))
        self._lock = threading.Lock()  # nobody hurts what is being started
        self._is_over, self._may_go = threading.Event(), threading.Event()
        self._keeper = threading.Thread(target=self._keep, name="keeper")
        self._keeper.start()

    @property
    def address(self):
        return self.scheduler.address

    def complain(self, what):
        self.complaints.append(what)

    def look_at(self, name, log):
        for line in log.splitlines():
            if any(word in line for word in BAD_WORDS):
                self.complain(f"{name} said: {line[:400]}")

    def _keep(self):
        while not self._is_over.wait(0.1):
            with self._lock:
                for place in self.places:
                    if not self._is_over.is_set() and not place.worker.alive:
                        place.ended()
                if not self.scheduler.alive:
                    self.complain(f"the scheduler ended:\n{harness.clip(self.scheduler.log(), 60)}")
                    self._is_over.set()
        self._may_go.wait()  # what a thread has started is killed when that ends (setpriv --pdeathsig)

    @contextlib.contextmanager
    def held(self):
        """No process is started anew meanwhile"""
        with self._lock:
            yield

    def planners(self):
        return [pid for pid in children(self.scheduler.pid) if "cask.planner" in command_of(pid)]

    def wait_for_all(self):
        self.pace.eventually(self._is_whole, 240, "all workers are there")

    def _is_whole(self):
        running = harness.ask(self.address, "ncores_running")
        return len(running) == len(self.places)

    def no_task_is_left(self):
        self.pace.eventually(lambda: harness.ask(self.address, "who_has") == {}, 30, "all tasks are forgotten")

    def logs(self):
        for process in (self.scheduler, *(place.worker for place in self.places)):
            yield process.label, process.log()

    def tracebacks(self):
        """Stacks of the C processes, for a hang"""
        for process in (self.scheduler, *(place.worker for place in self.places if not place.is_stock)):
            command = ["gdb", "-p", str(process.pid), "-batch", "-ex", "thread apply all bt 20"]
            with contextlib.suppress(OSError, harness.subprocess.SubprocessError):
                done = harness.subprocess.run(command, capture_output=True, text=True, timeout=60)
                yield process.label, done.stdout

    def close(self):
        """End all gently; whatever is left then is a complaint"""
        with self.held():
            self._is_over.set()
            for place in self.places:
                place.worker.kill(signal.SIGCONT)
                place.worker.popen.send_signal(signal.SIGTERM)
        self._wait_for_ends([place.worker for place in self.places])
        self._clean_after_the_killed()
        self.scheduler.popen.send_signal(signal.SIGTERM)
        self._wait_for_ends([self.scheduler])
        self._may_go.set()
        self._keeper.join()
        with contextlib.suppress(TimeoutError):
            self.pace.eventually(lambda: not list(marked(self.mark)), 15, "all processes have ended")
        self.pace.stop()
        for pid in marked(self.mark):
            self.complain(f"process {pid} is left: {command_of(pid)}")
            os.kill(pid, signal.SIGKILL)
        if self.network is not None:
            self.network.close()
        self._look_for_files()
        self.directory.cleanup()

    def _wait_for_ends(self, processes):
        for process in processes:
            try:
                self.pace.eventually(lambda: not process.alive, 30, "it ends")
            except TimeoutError:
                self.complain(f"{process.label} does not end on SIGTERM:\n{harness.clip(process.log())}")
            code = process.popen.returncode
            if code not in GOOD_ENDS:
                self.complain(f"{process.label} ends with {code} on SIGTERM:\n{harness.clip(process.log())}")
            self.look_at(process.label, process.log())
            for path in self.scratch.glob(f"dask-scratch-space/worker-*-{process.pid}-*"):
                self.complain(f"{path} is left by {process.label}, which ended gently")
            process.close()

    def _clean_after_the_killed(self):
        """What a killed worker left is removed by the next one on the host"""
        last = harness.Worker(
            self.address, "last", "--local-directory", str(self.scratch), env=self.environment,
            command=harness.CASK_WORKER,
        )  # fmt: skip
        self.pace.eventually(lambda: "Registered to" in last.log(), 240, "the last worker is there")
        last.popen.send_signal(signal.SIGTERM)
        self._wait_for_ends([last])

    def _look_for_files(self):
        """Stock workers leave two locks, which all share."""
        for path in pathlib.Path(self.directory.name).rglob("*"):
            is_of_all = path.is_dir() or path.name in ("global.lock", "purge.lock")
            if path.name.startswith("worker-") or not is_of_all:
                self.complain(f"{path} is left")


def send(pid, number):
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
