"""The worker as user code sees it: ``get_worker()``, ``dask_worker=``, plugins, preload modules.

A stock Worker object that never listens and never registers: all that it does for itself works as
it does in Dask (plugins, run, clients, profiles, call stacks, upload_file, actors); what it would
tell the scheduler or ask its own state machine goes through the channel to the real worker.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections import deque
from contextlib import contextmanager
from inspect import isawaitable
from operator import itemgetter

import dask
import distributed.core
import distributed.worker
from dask.utils import parse_timedelta
from distributed import profile
from distributed.comm import get_address_host
from distributed.core import Status
from distributed.diagnostics.plugin import WorkerPlugin
from distributed.protocol import dumps
from distributed.proctitle import setproctitle
from distributed.security import Security
from distributed.utils import key_split
from distributed.worker_memory import WorkerMemoryManager
from distributed.worker_state_machine import PauseEvent, SecedeEvent, UnpauseEvent
from tornado.ioloop import IOLoop

from cask.executor import channel, shuffles
from cask.executor.channel import pack_bytes, pack_payload
from cask.executor.stack import native_stacks
from cask.executor.state import State


_RUNNER = "cask/executor/tasks.py"  # what stands below the frames of a task
_HAS_CHILD = True  # profile.process then gives the frame's entry and leaves counting it to the child


class _Directory:
    """The worker's directory, which the C process made and will remove."""

    def __init__(self, path: str):
        self.base_dir = self.dir_path = path

    def new_work_dir(self, prefix=""):
        return self

    def release(self) -> None:
        pass


@contextmanager
def directory_given(path: str):
    """Inside, servers use `path` instead of making a directory of their own."""
    stock = distributed.core.WorkSpace
    distributed.core.WorkSpace = lambda _base: _Directory(path)
    try:
        yield
    finally:
        distributed.core.WorkSpace = stock


def security_of(tls: dict | None) -> Security | None:
    if not tls:
        return None
    return Security(
        tls_ca_file=tls.get("ca_file"),
        tls_worker_cert=tls.get("cert"),
        tls_worker_key=tls.get("key"),
        tls_client_cert=tls.get("cert"),
        tls_client_key=tls.get("key"),
        require_encryption=True,
    )


class Stock(distributed.worker.Worker):
    """The last class before stock's: notes what a worker has by itself. The rest is the user's."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self._stock_metrics = frozenset(self.metrics)
        self._own_handlers = frozenset(self.handlers)
        self._own_stream_handlers = frozenset(self.stream_handlers)


class _Told:
    """An attribute that the real worker answers; what stock's code sets it to means nothing."""

    def __init__(self, question: str, give):
        self._question = question
        self._give = give

    def __get__(self, worker, _type=None):
        return self if worker is None else self._give(worker.data.look(self._question, []))

    def __set__(self, worker, value):
        pass


class _MemoryManager(WorkerMemoryManager):
    """Stock's, whose thresholds are the real worker's."""

    _THRESHOLDS = {f"memory_{name}_fraction": name for name in ("target", "spill", "pause")}

    def __init__(self, stock: WorkerMemoryManager, tell):
        vars(self).update(vars(stock))
        self._tell = tell

    def __setattr__(self, name, value):
        super().__setattr__(name, value)
        if name in self._THRESHOLDS:
            self._tell("memory", {self._THRESHOLDS[name]: value or False})


def _counted(name: str) -> _Told:
    return _Told("state", itemgetter(name))


class Worker(distributed.worker.Worker):
    """See the module. To be mixed with Stock (worker_class.py). Made on the loop's thread."""

    transfer_incoming_log = _Told("incoming_log", deque)
    transfer_outgoing_log = _Told("outgoing_log", deque)
    transfer_outgoing_bytes = _counted("transfer_outgoing_bytes")
    transfer_outgoing_count = _counted("transfer_outgoing_count")
    transfer_outgoing_count_total = _counted("transfer_outgoing_count_total")

    def __init__(self, settings: dict, out: channel.Channel, runner, data):
        loop = IOLoop.current()
        if not hasattr(loop, "profile"):
            loop.profile = deque()  # nobody asks for a profile of this loop
        self._out = out
        self._runner = runner
        with directory_given(settings["local_directory"]):
            super().__init__(
                settings["scheduler"],
                nthreads=settings["nthreads"],
                name=settings.get("name"),
                local_directory=settings["local_directory"],
                security=security_of(settings.get("tls")),
                data=data,
                executor={"default": runner.threads},
                memory_limit=0,
                resources=settings.get("resources") or {},
                preload=settings.get("preload") or None,  # by the settings, then
                preload_argv=settings.get("preload_argv") or None,
                contact_address=settings["address"],
            )
        self.state = State(self.state)
        self.memory_manager = _MemoryManager(self.memory_manager, self.tell)
        self.nanny = settings.get("nanny")
        if self.nanny:
            self._add_nannys_path()
        self.id = settings.get("id") or self.id
        self.ip = get_address_host(settings["address"])
        self.state.address = settings["address"]
        self.thread_id = threading.get_ident()
        self._stacks = native_stacks() if self.low_level_profiler else None
        own = {
            "heartbeat_parts": self.heartbeat_parts,
            "startup_information": self.get_startup_information,
            "transitions": self.take_transitions,
        }
        self.handlers.update(own)
        self._own_handlers = self._own_handlers.union(own)
        self._told_handlers: dict | None = None
        self.apply(settings)
        setproctitle(f"dask worker [{self.address}]")

    def _add_nannys_path(self) -> None:
        """Where nanny plugins put modules, behind our own directory: a stock worker inherits it."""
        base = os.path.dirname(self.local_directory)
        if base not in sys.path:
            sys.path.insert(1, base)

    async def begin(self) -> dict:
        """Load what is to be loaded before there are tasks; gives the names of what that added."""
        await self.rpc.start()
        await self.preloads.start()
        return self.added_handlers()

    def apply(self, settings: dict) -> None:
        """HELLO's settings, or those that changed."""
        if "scheduler_delay" in settings:
            self.scheduler_delay = settings["scheduler_delay"]
        if "memory_limit" in settings:
            self.memory_manager.memory_limit = settings["memory_limit"] or None
        if "resources" in settings:
            self.state.total_resources = dict(settings["resources"])
        self._status = Status.lookup[settings.get("status", self._status.name)]
        if self._status == Status.init:
            self._status = Status.running

    def __repr__(self) -> str:
        """Short, and without a question: it is what errors print."""
        name = f", name: {self.name}" if self.name != self.address_safe else ""
        return f"<{type(self).__name__} {self.address_safe!r}{name}, status: {self._status.name}>"

    # ---- to the scheduler, and to the worker ----

    def tell(self, name: str, content) -> None:
        value, *frames = dumps(content)
        payload, fds = pack_payload(value, frames)
        self._out.send(channel.TELL, 0, [pack_bytes(name.encode()), *payload], fds)

    def batched_send(self, msg) -> None:
        self.tell("to-scheduler", [msg])

    def log_event(self, topic, msg) -> None:
        if not distributed.worker._is_dumpable(msg):
            raise TypeError(f"Message must be msgpack serializable. Got {type(msg)=} instead.")
        self.batched_send({"op": "log-event", "topic": topic, "msg": msg})

    def digest_metric(self, name, value) -> None:
        self.tell("digest", [name, value])

    def _send_worker_status_change(self, stimulus_id: str) -> None:
        self.tell("status", [self._status.name])

    def handle_stimulus(self, *stims) -> None:
        for event in stims:
            if isinstance(event, (PauseEvent, UnpauseEvent)):
                continue  # the real worker heard of it as its status
            if not isinstance(event, SecedeEvent):
                raise NotImplementedError(
                    f"{type(event).__name__}: the state of a cask worker is not in this process"
                )
            self._runner.secede(event.key, event.compute_duration)

    async def close(self, timeout=30, executor_wait=True, nanny=True, reason="worker-close"):
        """Ask the real worker to close."""
        self.tell("close", [reason, nanny])
        return "OK"

    async def close_gracefully(self, restart=None, reason="worker-close-gracefully"):
        self.tell("close-gracefully", [reason, restart])

    def _beating(self) -> dict:
        """Extensions with something to say to the scheduler. Spans are the real worker's."""
        return {
            name: extension
            for name, extension in self.extensions.items()
            if hasattr(extension, "heartbeat") and name != "spans"
        }

    def _listening(self) -> bool:
        """A plugin has a transition() of its own."""
        stock = WorkerPlugin.transition
        plugins = self.plugins.values()
        return any(getattr(type(plugin), "transition", stock) is not stock for plugin in plugins)

    def take_transitions(self, moves) -> None:
        """What tasks of this worker did since the last time: [(key, start, finish)]."""
        for key, start, finish in moves:
            self.state._notify_plugins("transition", key, start, finish)

    def validate_state(self) -> None:
        """Nothing to do: the core checks its own state, with `distributed.worker.validate` after each event."""

    async def set_resources(self, **resources: float) -> None:
        self.tell("resources", resources)
        await super().set_resources(**resources)

    async def heartbeat_parts(self) -> dict:
        """What user code adds to a heartbeat. Source: Worker.heartbeat, Worker.get_metrics."""
        metrics = {}
        for name in set(self.metrics) - self._stock_metrics:
            try:
                value = self.metrics[name](self)
                metrics[name] = await value if isawaitable(value) else value
            except Exception:
                distributed.worker.logger.debug("metric %s failed", name, exc_info=True)
        extensions = {name: extension.heartbeat() for name, extension in self._beating().items()}
        return {"extensions": extensions, "metrics": metrics}

    def added_handlers(self) -> dict:
        """Names of operations that user code added, and whether heartbeat_parts has any."""
        return {
            "beats": bool(self._beating() or set(self.metrics) - self._stock_metrics),
            "handlers": sorted(set(self.handlers) - self._own_handlers),
            "transitions": self._listening(),
            "stream_handlers": sorted(set(self.stream_handlers) - self._own_stream_handlers),
        }

    def tell_changes(self) -> None:
        """If they changed."""
        added = self.added_handlers()
        if added != self._told_handlers:
            self._told_handlers = added
            self.tell("handlers", added)

    async def plugin_add(self, plugin, name=None, catch_errors=True):
        reply = await super().plugin_add(plugin, name, catch_errors)
        shuffles.watch(self)
        return reply

    # ---- actors ----

    async def actor_execute(self, actor=None, function=None, args=(), kwargs=None):
        """Stock's, which leaves the thread of a method that failed among those that run tasks."""
        reply = await super().actor_execute(actor, function, args, kwargs)
        if reply["status"] == "error":
            name = f"{key_split(actor)}.{function}"
            with self.active_threads_lock:
                for ident in [i for i, key in self.active_threads.items() if key == name]:
                    del self.active_threads[ident]
        return reply

    # ---- profiles ----

    def trigger_profile(self) -> None:
        """Stock's, for threads whose frames begin in this package; with native frames if that is set."""
        with self.active_threads_lock:
            active = dict(self.active_threads)
        numbers = {thread.ident: thread.native_id for thread in threading.enumerate()} if self._stacks else {}
        # One of all frames is this one: a cycle, which would keep what is in them, results too, until it is collected.
        frames = {ident: frame for ident, frame in sys._current_frames().items() if ident in active}
        for ident, key in active.items():
            frame = frames.get(ident)
            if frame is not None and not frame.f_code.co_filename.endswith(_RUNNER):
                taken = ident in numbers and self._stacks.capture(numbers[ident])
                states = (self.profile_recent, self.profile_keys[key_split(key)])
                leaves = [profile.process(frame, _HAS_CHILD, state, stop=_RUNNER) for state in states]
                native = self._stacks.frames() if taken else []
                for leaf in leaves:
                    if native:
                        profile.llprocess(list(native), None, leaf)
                    else:
                        leaf["count"] += 1

    async def teardown(self) -> None:
        """Plugins and preload modules say goodbye, as in stock's close()."""
        for plugin in list(self.plugins.values()):
            if hasattr(plugin, "teardown"):
                try:
                    result = plugin.teardown(self)
                    if isawaitable(result):
                        await result
                except Exception:
                    distributed.worker.logger.exception("plugin %s failed to tear down", plugin)
        for preload in self.preloads:
            try:
                await preload.teardown()
            except Exception:
                distributed.worker.logger.exception("preload failed to tear down")


class Profiler(threading.Thread):
    """Takes samples while tasks run; sleeps while none does."""

    def __init__(self, worker: Worker, woken: threading.Event):
        super().__init__(name="profiler", daemon=True)
        self._worker = worker
        self._woken = woken
        setting = "distributed.worker.profile."
        self._interval = parse_timedelta(dask.config.get(setting + "interval"), "ms")
        self._cycle = parse_timedelta(dask.config.get(setting + "cycle"), "ms")

    def run(self) -> None:
        pause = threading.Event()
        end = None  # of this cycle, which began with its first sample
        while True:
            self._woken.wait()
            pause.wait(self._interval)
            if not self._worker.active_threads:
                self._woken.clear()
                if self._worker.active_threads:
                    self._woken.set()
            else:
                if end is None:
                    end = time.monotonic() + self._cycle
                self._worker.trigger_profile()
            if end is not None and (time.monotonic() >= end or not self._woken.is_set()):
                end = None
                self._worker.cycle_profile()
