"""Running tasks: from RUN to DONE, FAILED, RESCHEDULE or CANCELLED.

The thread that reads makes a task with its inputs; a task thread opens its spec, calls it, and says
what came of it and what it cost. What a trivial task costs here is what matters: measure with
bench/executor.py before adding a line to `_run`.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import logging
import os
import pickle as stdlib_pickle
import struct
import sys
import threading
from contextvars import copy_context
from inspect import CO_COROUTINE
from time import time
from types import BuiltinFunctionType, FunctionType

import dask
import msgpack
from dask.utils import typename as name_of
from distributed import Reschedule
from distributed.actor import Actor
from distributed.metrics import context_meter
from distributed.protocol import pickle
from distributed.protocol.utils import msgpack_opts
from distributed.sizeof import safe_sizeof
from distributed.utils import thread_state

from distributed.worker import _run_task_simple, _worker_cvar

from cask.executor import TaskCancelled, board, channel
from cask.executor.channel import INLINE, NO_PAYLOAD, U32, pack_bytes, pack_payload, take_payload
from cask.executor.errors import pack_error
from cask.executor.interrupt import interrupt, is_importing
from cask.executor.meter import make_meter, nothing
from cask.executor.objects import PLAIN, SERIALIZED, Entry, open_value, opening, serialise
from cask.executor.output import current_task

logger = logging.getLogger("distributed.worker")

_DONE = struct.Struct("<Q")
_SMALL = struct.Struct("<IIQQQQ")  # a payload of two inline frames
_SECONDS = struct.Struct("<d")
_OUTPUT = struct.Struct("<IQ")
_ACTOR, _WANTS_SMALL = 1, 2  # flags of RUN
_TIMEOUT, _UNBEGUN = 1, 2  # how, of CANCEL

_PICKLED = msgpack.packb({"__Pickled__": 1})
_IMPORT_PAUSE = 0.05  # seconds until it is looked whether a module is loaded now
_NO_METRICS = pack_bytes(b"")
_SMALL_MAX = 2048
_TYPES_KEPT = 1000

_meters = threading.local()  # .seen: {(label, unit): sum} of the task of this thread


class Task:
    """One RUN."""

    __slots__ = (
        "annotations", "body", "entry", "fds", "future", "handle", "has_begun", "ident", "inputs",
        "is_cancelled", "key", "output", "payload_at", "pickle", "reason", "runner", "slot", "wants_small",
    )  # fmt: skip

    def __init__(self, runner, handle, run, fds):
        """`run`: what channel.take_run() gives"""
        flags, inputs, key, self.annotations, self.payload_at, self.pickle, self.body = run
        if type(key) is bytes:
            key = msgpack.unpackb(key, use_list=False, **msgpack_opts)
        self.runner = runner
        self.handle = handle
        self.key = key
        self.fds = fds
        if inputs:
            by_handle = runner.objects.by_handle
            inputs = [by_handle.get(handle) for handle in inputs]
        self.inputs = inputs
        self.entry = Entry(key)
        self.entry.is_actor = bool(flags & _ACTOR)
        self.wants_small = flags & _WANTS_SMALL
        self.output = None
        self.is_cancelled = False
        self.reason = None  # of a timeout
        self.has_begun = False
        self.ident = None  # of its thread, while it may be interrupted
        self.future = None  # of an asynchronous one
        self.slot = 0

    def run(self) -> None:
        self.runner.run(self)

    def tell_output(self, number: int) -> None:
        """Tell what it wrote to this stream since the last time."""
        self.runner.tell_output(self, number)


def _open_spec(task: Task):
    """The callable of a task: dask's GraphNode, as a rule."""
    if task.pickle is not None:
        content, task.pickle = task.pickle, None
        with opening:
            return stdlib_pickle.loads(content)
    value, frames = take_payload(task.body, task.payload_at, task.fds)
    task.body, task.fds = None, ()
    if value == _PICKLED:
        header = msgpack.unpackb(frames[0])
        if not any(header.get("compression", ())):
            count = header["num-sub-frames"]
            with opening:
                return pickle.loads(header["pickled-obj"], buffers=frames[1 : 1 + count])
    with opening:
        return open_value(value, frames)


def _is_coroutine(spec) -> bool:
    """spec.is_coro, which for plain functions takes as long as the rest of opening a spec."""
    function = getattr(spec, "func", None)
    if type(function) is BuiltinFunctionType:
        return False
    if type(function) is FunctionType and not function.__dict__:  # no decorator has marked it
        return bool(function.__code__.co_flags & CO_COROUTINE)
    return spec.is_coro


class _Ledger:
    """What a stretch of a thread costs."""

    __slots__ = ("begun", "meter", "metrics", "prepared", "start", "stop")

    def __init__(self, meter, prepared: float):
        self.prepared = self.start = self.stop = prepared
        self.meter = meter
        self.begun = meter.begin()
        self.metrics = _meters.seen = {}

    def pack(self) -> bytes:
        thread = threading.get_ident()
        head = self.meter.end(self.begun, thread, self.prepared, self.start, self.stop)
        metrics = self.metrics
        if not metrics:
            return head + _NO_METRICS
        rows = [(label, value, unit) for (label, unit), value in metrics.items()]
        return head + pack_bytes(msgpack.packb(rows, default=str))


def _note_metric(label, value, unit) -> None:
    seen = getattr(_meters, "seen", None)
    if seen is not None:
        seen[label, unit] = seen.get((label, unit), 0) + value


class Runner:
    """All tasks of this executor."""

    def __init__(self, out: channel.Channel, objects, the_board, crash_thread):
        self._out = out
        self.objects = objects
        self._board = the_board
        self._meter = make_meter()
        self._crash_thread = crash_thread  # called once in each task thread
        self.worker = None  # set by HELLO
        self.threads = None
        self._tasks: dict[int, Task] = {}  # until their answer
        self._lock = threading.Lock()  # whether a task may be interrupted
        self._types: dict[type | None, bytes] = {}
        self._small_header = serialise(0)[1][0]
        self.woken = threading.Event()  # a task runs: for the profiler
        self.worked = threading.Event()  # … and for the sweeper

    # ---- the thread that reads ----

    def take(self, handle: int, run: tuple, fds: list[int]) -> Task:
        """A RUN."""
        task = Task(self, handle, run, fds)
        self._tasks[handle] = task
        self.objects.add(handle, task.entry)
        return task

    def cancel(self, handle: int, how: int, reason: str) -> None:
        with self._lock:
            task = self._tasks.get(handle)
            if task is None or (how == _UNBEGUN and task.has_begun):
                return  # it is over, or goes on
            task.is_cancelled = True
            task.reason = reason if how == _TIMEOUT else None
            if task.ident is not None:
                self._interrupt(task)
            elif task.future is not None:
                self.worker.loop.asyncio_loop.call_soon_threadsafe(task.future.cancel)
            elif task.has_begun:
                return  # between two moments; its thread looks once more
        if not task.has_begun:
            self._answer_cancelled(task)

    def _interrupt(self, task: Task) -> None:
        """Under the lock. An import comes to its end first."""
        if is_importing(task.ident):
            loop = self.worker.loop.asyncio_loop
            loop.call_soon_threadsafe(loop.call_later, _IMPORT_PAUSE, self._interrupt_later, task)
        else:
            interrupt(task.ident)

    def _interrupt_later(self, task: Task) -> None:
        with self._lock:
            if task.ident is not None:
                self._interrupt(task)

    def is_idle(self) -> bool:
        return not self._tasks

    # ---- a task's thread ----

    @contextlib.contextmanager
    def surroundings(self):
        """What holds in a task thread for all its tasks."""
        self._crash_thread()
        thread_state.execution_state = self.worker.execution_state
        with context_meter.add_callback(_note_metric):
            _worker_cvar.set(self.worker)
            yield

    def run(self, task: Task) -> None:
        try:
            self._run(task)
        except TaskCancelled:
            # It came after the task's own code was left; whether it was answered is known.
            self._answer_cancelled(task)

    def _begin(self, task: Task) -> bool:
        with self._lock:
            if task.is_cancelled:
                return False
            task.has_begun = True
            task.ident = threading.get_ident()
        return True

    def _end(self, task: Task) -> None:
        """From here on it is not interrupted."""
        with self._lock:
            ident, task.ident = task.ident, None
            if task.is_cancelled and ident is not None:
                ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(ident), None)

    def _inputs(self, task: Task) -> dict:
        data = {}
        for entry in task.inputs:
            if entry is None:
                raise KeyError("an input of this task is not here")
            value = entry.get()
            if entry.is_actor:
                value = Actor(type(value), self.worker.address, entry.key, self.worker)
            data[entry.key] = value
        return data

    def _run(self, task: Task) -> None:
        if not self._begin(task):
            return
        ident = task.ident
        active_threads = self.worker.active_threads
        ledger = _Ledger(self._meter, time())
        task.slot = self._board.enter(task.handle, ledger.prepared, threading.get_native_id())
        if not self.worked.is_set():
            self.worked.set()
        try:
            annotations = (
                msgpack.unpackb(task.annotations, use_list=False, **msgpack_opts)
                if task.annotations
                else {}
            )
            task.annotations = annotations
            spec = _open_spec(task)
            data = self._inputs(task)
            task.inputs = ()
            ledger.start = time()
            if _is_coroutine(spec):
                self._end(task)
                self._run_async(task, spec, data, ledger)
                return
            executor = annotations.get("executor", "default")
            if executor != "default":
                self._end(task)
                self._run_elsewhere(task, spec, data, executor, ledger)
                return
            thread_state.key = task.key
            thread_state.start_time = ledger.start
            context = copy_context()
            context.run(current_task.set, task)
            active_threads[ident] = task.key
            if not self.woken.is_set():  # after the line above: the profiler clears it when nobody is active
                self.woken.set()
            try:
                if "span" in annotations:
                    with dask.annotate(span=annotations["span"]):
                        result = context.run(spec, data)
                else:
                    result = context.run(spec, data)
            finally:
                ledger.stop = time()
                active_threads.pop(ident, None)
                del thread_state.key, thread_state.start_time
            self._end(task)
            del data, context
            self._finish(task, result, ledger)
        except BaseException as error:
            self._end(task)
            self._fail(task, error, ledger)
        finally:
            if task.future is None:
                self._board.leave(task.slot)

    # ---- asynchronous tasks, and those with an executor of their own ----

    def _run_async(self, task: Task, spec, data, ledger: _Ledger) -> None:
        self._board.set_flags(task.slot, board.ASYNCHRONOUS)

        async def body():
            current_task.set(task)
            _worker_cvar.set(self.worker)
            return await spec(data)

        def finished(future: asyncio.Future) -> None:
            ledger.stop = time()
            _forget_costs(ledger)
            self._board.leave(task.slot)
            try:
                result = future.result()
            except asyncio.CancelledError as error:
                if task.is_cancelled:
                    self._fail(task, TaskCancelled(), ledger)
                else:
                    self._fail(task, error, ledger)
            except BaseException as error:
                self._fail(task, error, ledger)
            else:
                self._finish(task, result, ledger)

        def begin() -> None:
            with self._lock:
                task.future = loop.create_task(body())
                if task.is_cancelled:
                    task.future.cancel()
            task.future.add_done_callback(finished)

        loop = self.worker.loop.asyncio_loop
        task.future = asyncio.Future(loop=loop)  # until begin() makes the real one
        loop.call_soon_threadsafe(begin)

    def _run_elsewhere(self, task: Task, spec, data, name: str, ledger: _Ledger) -> None:
        executors = self.worker.executors
        if name not in executors:
            raise ValueError(f"Invalid executor {name!r}; expected one of: {sorted(executors)}")
        executor = executors[name]
        if "ThreadPoolExecutor" not in str(type(executor)):
            message = executor.submit(_run_task_simple, spec, data, 0.0).result()
        else:
            message = executor.submit(self._call_in_thread, task, spec, data).result()
        ledger.start, ledger.stop = message["start"], message["stop"]
        if message["op"] == "task-finished":
            self._finish(task, message["result"], ledger)
        else:
            self._fail(task, message["actual_exception"], ledger)

    def _call_in_thread(self, task: Task, spec, data):
        _worker_cvar.set(self.worker)
        current_task.set(task)
        thread_state.key, thread_state.start_time = task.key, time()
        thread_state.execution_state = self.worker.execution_state
        try:
            return _run_task_simple(spec, data, 0.0)
        finally:
            current_task.set(None)
            del thread_state.key, thread_state.start_time

    # ---- answers ----

    def _take(self, task: Task) -> bool:
        """Whether this task has still to be answered; only one who asks gets a yes."""
        return self._tasks.pop(task.handle, None) is not None

    def _answer_cancelled(self, task: Task) -> None:
        if not self._take(task):
            return
        for fd in task.fds:
            os.close(fd)
        task.fds = ()
        self._tell_output(task)
        if task.reason is not None:
            now = time()
            costs = nothing(threading.get_ident(), now)
            error = pack_error(TimeoutError(task.reason))
            self._out.send(channel.FAILED, task.handle, [costs, _NO_METRICS, error])
        else:
            begun = U32.pack(task.has_begun)
            self._out.send(channel.CANCELLED, task.handle, [begun])

    def tell_output(self, task: Task, number: int) -> None:
        """From inside the task: an interruption waits meanwhile, or it would tear the message apart."""
        with self._lock:
            is_shielded = task.ident == threading.get_ident()
            if is_shielded and task.is_cancelled:
                return  # one may come any moment
            if is_shielded:
                task.ident = None
        try:
            self._send_output(task, number)
        finally:
            if is_shielded:
                with self._lock:
                    task.ident = threading.get_ident()
                    is_cancelled = task.is_cancelled
        if is_shielded and is_cancelled:
            raise TaskCancelled

    def _send_output(self, task: Task, number: int) -> None:
        written, content = task.output[number].take()
        if content:
            parts = [_OUTPUT.pack(number, written), pack_bytes(content)]
            self._out.send(channel.OUTPUT, task.handle, parts)

    def _tell_output(self, task: Task) -> None:
        """All that is left, when it has ended."""
        if task.output is not None:
            for number in task.output:
                self._send_output(task, number)
            task.output = None

    def _type_parts(self, kind: type | None) -> bytes:
        """Pickle and name of a class, as parts of DONE."""
        parts = self._types.get(kind)
        if parts is None:
            name = name_of(kind)
            try:
                content = pickle.dumps(kind)
            except Exception:
                content = pickle.dumps(name)
            parts = pack_bytes(content) + pack_bytes(name.encode(errors="replace"))
            if len(self._types) >= _TYPES_KEPT:
                self._types.clear()  # classes made by tasks do not pile up
            self._types[kind] = parts
        return parts

    def _small_part(self, result) -> bytes:
        """The payload of a value of PLAIN types, as of serialise(): the sub-header is nearly always the same."""
        try:
            content = msgpack.packb(result)
        except (OverflowError, UnicodeEncodeError):
            return b"".join(pack_payload(*serialise(result))[0])
        header = self._small_header
        return _SMALL.pack(len(SERIALIZED), 2, len(header), INLINE, len(content), INLINE) + SERIALIZED + header + content

    def _finish(self, task: Task, result, ledger: _Ledger) -> None:
        is_simple = type(result) in PLAIN
        size = sys.getsizeof(result) if is_simple else safe_sizeof(result)
        kind = type(result) if result is not None else None
        parts = [ledger.pack(), _DONE.pack(size), self._type_parts(kind)]
        if task.wants_small and is_simple and size <= _SMALL_MAX:
            parts.append(self._small_part(result))
        else:
            parts.append(NO_PAYLOAD)
        task.entry.set(result)
        if task.entry.is_actor:
            self.worker.state.actors[task.key] = result
        if not self._take(task):
            return
        self._tell_output(task)
        if self.threads.waiting() > 0:
            self._out.hold(channel.DONE, task.handle, parts)
        else:
            self._out.send(channel.DONE, task.handle, parts)

    def _fail(self, task: Task, error: BaseException, ledger: _Ledger) -> None:
        for fd in task.fds:
            os.close(fd)
        task.fds = ()
        if ledger.stop < ledger.start:
            ledger.stop = time()
        if isinstance(error, TaskCancelled) and task.is_cancelled:
            if task.reason is None:
                self._answer_cancelled(task)
                return
            error = TimeoutError(task.reason).with_traceback(error.__traceback__)
        if isinstance(error, (SystemExit, KeyboardInterrupt)):
            _leave(error)
        if not self._take(task):
            return
        self.objects.drop(task.handle)
        self._tell_output(task)
        if isinstance(error, Reschedule):
            self._out.send(channel.RESCHEDULE, task.handle, [])
            return
        packed = pack_error(error)
        logger.error("Compute Failed\nKey:       %s\nException: %r\n", task.key, repr(error)[:1000])
        self._out.send(channel.FAILED, task.handle, [ledger.pack(), packed])

    def secede(self, key, seconds: float) -> None:
        """The task of this key left its slot."""
        for task in list(self._tasks.values()):
            if task.key == key and task.has_begun:
                self._board.set_flags(task.slot, board.SECEDED)
                self._out.send(channel.SECEDED, task.handle, [_SECONDS.pack(seconds)])
                return


def _forget_costs(ledger: _Ledger) -> None:
    """Of an asynchronous task: what the loop's thread used was not its doing alone."""
    ledger.begun = ledger.meter.begin(ledger.begun)


def _leave(error: BaseException) -> None:
    """sys.exit() in a task ends the executor, as it ends a stock worker: its certificate says so."""
    status = 130 if isinstance(error, KeyboardInterrupt) else error.code
    if status is None:
        status = 0
    elif not isinstance(status, int):
        print(status, file=sys.stderr)
        status = 1
    sys.stdout.flush()
    sys.stderr.write(f"a task raised {error!r}: the executor ends\n")
    sys.stderr.flush()
    os._exit(status & 0xFF)
