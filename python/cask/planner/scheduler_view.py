"""The object that user code gets as ``dask_scheduler``: a view of the scheduler in C.

It looks like distributed.scheduler.Scheduler: state is read from a snapshot, methods call the
scheduler's operations over the channel, plugins live here, and attributes that users set stay.
What stock keeps inside and no operation shows does not exist; docs/compatibility.md lists it.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import logging
import os
import sys
import tempfile
from typing import Any

import dask.config
import distributed.scheduler as stock
import psutil
from dask.utils import parse_timedelta
from distributed.system_monitor import SystemMonitor

from cask.planner import report
from cask.planner.plugins import Plugins
from cask.planner.policies import Policies
from cask.planner.queries import Queries
from cask.planner.snapshot import Snapshot
from cask.planner.span_view import SpansView
from cask.planner.state_view import StateView

# Methods of stock's Scheduler that are an operation of ours: method -> operation, where the names
# differ. Arguments are those of stock's method; it is a coroutine if stock's is one.
OPERATIONS = {
    name: name
    for name in (
        "adaptive_target add_keys benchmark_hardware broadcast check_idle gather get_cluster_state "
        "get_metadata get_story get_task_prefix_states get_task_status get_task_stream "
        "get_task_stream_index identity proxy rebalance register_nanny_plugin "
        "register_worker_plugin replicate restart restart_workers retire_workers scatter "
        "set_metadata set_restrictions start_task_metadata stop_task_metadata "
        "unregister_nanny_plugin unregister_worker_plugin update_data versions"
    ).split()
} | {
    "add_resources": "set_resources",
    "close": "terminate",
    "get_call_stack": "call_stack",
    "get_events": "events",
    "get_has_what": "has_what",
    "get_logs": "get_logs",
    "get_nbytes": "nbytes",
    "get_ncores": "ncores",
    "get_ncores_running": "ncores_running",
    "get_processing": "processing",
    "get_profile": "profile",
    "get_who_has": "who_has",
    "get_worker_logs": "worker_logs",
    "remove_worker": "unregister",
    "stimulus_retry": "retry",
}

# Methods that stock computes from what a view shows.
SHARED = (
    "dump_cluster_state_to_url",
    "get_worker_monitor_info",
    "get_worker_service_addr",
    "performance_report",
    "workers_list",
    "workers_to_close",
)


class StreamView:
    """Sends messages on the stream of one worker or client, as stock's BatchedSend."""

    def __init__(self, queries: Queries, op: str, name: str):
        self._queries = queries
        self._op = op
        self._name = name

    def send(self, *messages) -> None:
        self._queries.tell(self._op, name=self._name, messages=list(messages))


class RpcView:
    """``scheduler.rpc(address).operation(...)``: asks a worker through the scheduler's proxy."""

    def __init__(self, queries: Queries, address: str):
        self._queries = queries
        self._address = address

    def __getattr__(self, op: str):
        async def call(**arguments):
            message = {"op": op, **arguments}
            return await self._queries.ask_async("proxy", msg=message, worker=self._address)

        return call

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    async def __aenter__(self):
        return self

    async def __aexit__(self, *_):
        pass


class AmmView:
    """The active memory manager: the core's, and the policies that live here."""

    def __init__(self, scheduler: SchedulerView, queries: Queries):
        self._scheduler = scheduler
        self._queries = queries

    @functools.cached_property
    def here(self) -> Policies:
        return Policies(self._scheduler)

    @property
    def policies(self) -> set:
        """Those that are Python classes."""
        return self.here.policies

    def add_policy(self, policy) -> None:
        self.here.add_policy(policy)
        if self.running:
            self.here.start()

    def _call(self, method: str) -> None:
        self._queries.ask("amm_handler", method=method)
        getattr(self.here, method)()

    def start(self) -> None:
        self._call("start")

    def stop(self) -> None:
        self._call("stop")

    def run_once(self) -> None:
        self._call("run_once")

    @property
    def running(self) -> bool:
        return self._queries.ask("amm_handler", method="running")


class SchedulerView(StateView):
    """A scheduler as its users know it: its state, and what can be done with it."""

    _made = False  # until then __init__ sets what it likes

    def __init__(self, queries: Queries, loop: asyncio.AbstractEventLoop, interest_changed):
        super().__init__(queries, Snapshot(queries, loop.call_soon_threadsafe))
        self._interest_changed = interest_changed
        self._background: set[asyncio.Task] = set()
        self._dumping = asyncio.Lock()
        self._monitor: SystemMonitor | None = None
        self._async_loop = loop
        self.plugins = Plugins()
        self.handlers: dict[str, Any] = {}  # operations that user code adds
        self.stream_handlers: dict[str, Any] = {}
        self.periodic_callbacks: dict[str, Any] = {}
        self.extensions: dict[str, Any] = {
            "amm": AmmView(self, queries),
            "spans": SpansView(self.snapshot),
        }
        for name in stock.DEFAULT_EXTENSIONS:
            self.extensions.setdefault(name, None)
        self._made = True

    def __setattr__(self, name: str, value):
        if self._made and name not in self.__dict__ and not name.startswith("_"):
            if name in self.snapshot.whole("scheduler"):
                raise AttributeError(
                    f"dask_scheduler.{name} is for reading: it shows the scheduler's state, which is in another "
                    "process; methods and settings change it"
                )
        super().__setattr__(name, value)

    # So that isinstance(dask_scheduler, Scheduler) holds where user code asks.
    @property
    def __class__(self):
        return stock.Scheduler

    @functools.cached_property
    def local_directory(self) -> str:
        """Where uploaded files live, as long as this process; their modules can be imported."""
        directory = tempfile.TemporaryDirectory(prefix="cask-planner-")  # mode 0700
        self._local_directory = directory
        sys.path.insert(0, directory.name)
        return directory.name

    def remove_files(self) -> None:
        """At the end of this process, which runs no finalizers."""
        if directory := self.__dict__.get("_local_directory"):
            directory.cleanup()

    async def dump_cluster_state_to_url(self, *args, **kwargs) -> None:
        """As stock, but a file is its owner's alone: it tells of everybody's keys, addresses and errors."""
        async with self._dumping:  # the mask is the process's, so one at a time
            mask = os.umask(0o077)
            try:
                await stock.Scheduler.dump_cluster_state_to_url(self, *args, **kwargs)
            finally:
                os.umask(mask)

    async def performance_report(self, start: float, last_count: int, code: str = "", mode: str | None = None) -> str:
        identity = await self._queries.ask_async("identity", n_workers=0)
        made = await report.performance_report(identity, start, code)
        if made is None:
            made = await stock.Scheduler.performance_report(self, start, last_count, code, mode)
        return made

    async def upload_file(self, filename: str, data: str | bytes, load: bool = True) -> dict[str, Any]:
        """What `Client.upload_file` asks of a scheduler: graphs may need the module, too."""
        return await stock.Scheduler.upload_file(self, os.path.basename(filename), data, load)

    @property
    def loop(self):
        from tornado.ioloop import IOLoop

        return IOLoop.current()

    @property
    def monitor(self) -> SystemMonitor:
        """Samples of the scheduler's process, taken from the first look on."""
        if self._monitor is None:
            self._monitor = SystemMonitor(monitor_gil_contention=False)
            self._monitor.proc = psutil.Process(os.getppid())
            self.in_background(self._watch(self._monitor))
        return self._monitor

    async def _watch(self, monitor: SystemMonitor) -> None:
        interval = parse_timedelta(dask.config.get("distributed.admin.system-monitor.interval"))
        while True:
            monitor.update()
            await asyncio.sleep(interval)

    @property
    def stream_comms(self) -> dict:
        send = "planner_worker_send"
        return {a: StreamView(self._queries, send, a) for a in self.workers}

    @property
    def client_comms(self) -> dict:
        send = "planner_client_send"
        return {c: StreamView(self._queries, send, c) for c in self.clients}

    def __getattr__(self, name: str):
        if name.startswith("_"):
            raise AttributeError(name)
        if op := OPERATIONS.get(name):
            return self._operation(getattr(stock.Scheduler, name), op)
        if name in SHARED:
            return functools.partial(getattr(stock.Scheduler, name), self)
        return super().__getattr__(name)

    def _operation(self, method, op: str):
        """A method that calls operation `op` with the arguments that stock's `method` takes."""
        signature = inspect.signature(method)

        def arguments(args, kwargs):
            bound = signature.bind(self, *args, **kwargs).arguments
            del bound["self"]
            if "kwargs" in bound:
                bound.update(bound.pop("kwargs"))
            bound.pop("comm", None)
            return bound

        async def later(*args, **kwargs):
            try:
                return await self._queries.ask_async(op, **arguments(args, kwargs))
            finally:
                self.snapshot.forget()

        def now(*args, **kwargs):
            try:
                return self._queries.ask(op, **arguments(args, kwargs))
            finally:
                self.snapshot.forget()

        return functools.wraps(method)(later if inspect.iscoroutinefunction(method) else now)

    def log_event(self, topic, msg) -> None:
        self._queries.tell("log_event", topic=topic, msg=msg)

    def worker_send(self, worker: str, msg: dict) -> None:
        StreamView(self._queries, "planner_worker_send", worker).send(msg)

    def request_acquire_replicas(self, addr: str, keys, *, stimulus_id: str) -> None:
        self._queries.tell("planner_replicas", worker=addr, keys=list(keys), drop=False)

    def request_remove_replicas(self, addr: str, keys: list, *, stimulus_id: str) -> None:
        """Keys that no other worker has, or that a task on this one waits for, stay."""
        self._queries.tell("planner_replicas", worker=addr, keys=list(keys), drop=True)
        self.snapshot.forget()

    def client_send(self, client: str, msg: dict) -> None:
        StreamView(self._queries, "planner_client_send", client).send(msg)

    def send_all(self, client_msgs: dict, worker_msgs: dict) -> None:
        for client, messages in client_msgs.items():
            StreamView(self._queries, "planner_client_send", client).send(*messages)
        for worker, messages in worker_msgs.items():
            StreamView(self._queries, "planner_worker_send", worker).send(*messages)

    def rpc(self, address: str) -> RpcView:
        return RpcView(self._queries, address)

    def add_plugin(self, plugin, *, idempotent: bool = False, name: str | None = None, **_) -> None:
        self.plugins.add(plugin, idempotent, name)
        self._interest_changed()
        # What was read before the hooks began could miss what happens in between.
        self.snapshot.forget()

    def remove_plugin(self, name: str | None = None) -> None:
        assert name is not None
        self.plugins.remove(name)
        self._interest_changed()

    async def register_scheduler_plugin(self, plugin, name=None, *, idempotent: bool) -> str | None:
        """The plugin's name; None if it was there already."""
        if isinstance(plugin, (bytes, bytearray, memoryview)):
            plugin = stock.loads(plugin)
            assert isinstance(plugin, stock.SchedulerPlugin)
        if name is None:
            name = stock._get_plugin_name(plugin)
        if name in self.plugins and idempotent:
            return None
        if hasattr(plugin, "start"):
            result = plugin.start(self)
            if inspect.isawaitable(result):
                await result
        self.add_plugin(plugin, name=name, idempotent=idempotent)
        return name

    async def unregister_scheduler_plugin(self, name: str) -> None:
        self.remove_plugin(name)

    def in_background(self, coroutine) -> None:
        """Run a coroutine that nobody waits for."""
        task = self._async_loop.create_task(coroutine)
        self._background.add(task)
        task.add_done_callback(self._background_done)

    def _background_done(self, task: asyncio.Task) -> None:
        self._background.discard(task)
        if not task.cancelled() and task.exception() is not None:
            logging.getLogger("distributed.scheduler").error(
                "A coroutine run on the scheduler failed", exc_info=task.exception()
            )
