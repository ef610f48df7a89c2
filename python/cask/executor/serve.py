"""The executor's threads and what each of them does with a message."""

from __future__ import annotations

import asyncio
import os
import threading
import traceback
from concurrent.futures import Future
from contextvars import copy_context
from itertools import chain
from queue import SimpleQueue
from time import time

import dask
import msgpack
from distributed.actor import Actor
from distributed.protocol import dumps, loads
from distributed.protocol.utils import msgpack_opts

from cask.executor import channel, output
from cask.executor.beginning import Beginning
from cask.executor.board import EXPORTING
from cask.executor.calls import serve_call, take_call
from cask.executor.channel import pack_bytes, pack_payload, take_bytes, take_payload
from cask.executor.errors import pack_error
from cask.executor.nanny import Nanny
from cask.executor.objects import DataView, Entry, Objects, serialise
from cask.executor.reading import Reading
from cask.executor.sweep import Sweeper
from cask.executor.tasks import Runner
from cask.executor.threads import TaskThreads
from cask.executor.worker import Profiler
from cask.executor.worker_class import worker_type


def _first(body) -> int:
    """The u32 that a body begins with."""
    return channel.U32.unpack_from(body, 0)[0]


class Executor:
    """Takes messages and gives them to who follows them."""

    def __init__(self, out: channel.Channel, reading: Reading, end, crash_thread, the_board):
        self._out = out
        self._reading = reading
        self._end = end
        self._loop = asyncio.get_running_loop()
        self._context = copy_context()  # of what starts on the loop, whichever thread read of it
        self._objects = Objects()
        self._data = DataView(self._objects)
        self._runner = Runner(out, self._objects, the_board, crash_thread)
        self._board = the_board
        self._crash_thread = crash_thread
        self._exports: SimpleQueue = SimpleQueue()
        self._questions: dict[int, Future] = {}
        self._question_count = 0
        self._question_lock = threading.Lock()
        self._worker = None
        self._running: set[asyncio.Task] = set()

    def _on_loop(self, coroutine) -> None:
        """Keep a reference while it runs."""
        task = self._loop.create_task(coroutine)
        self._running.add(task)
        task.add_done_callback(self._running.discard)

    # ---- on the loop ----

    async def _hello(self, settings: dict) -> None:
        added: dict = {}
        problem = ""
        try:
            if settings.get("role") == "nanny":
                self._worker = Nanny(settings, self._out, self._ask)
                added = await self._worker.begin()
            else:
                added = await self._begin_work(settings)
        except Exception as error:
            traceback.print_exc()
            problem = f"{type(error).__name__}: {error}"
        parts = [pack_bytes(problem.encode(errors="replace")), pack_bytes(msgpack.packb(added))]
        self._out.send(channel.WELCOME, 0, parts)

    async def _begin_work(self, settings: dict) -> dict:
        """Be an executor of tasks."""
        runner = self._runner
        prefix = f"{settings['name']}-" if settings.get("name") is not None else ""
        runner.threads = TaskThreads(
            settings["nthreads"], f"{prefix}Dask-Default-Threads", self._reading, [runner.surroundings]
        )
        make = worker_type(settings.get("worker_class"))
        worker = make(settings, self._out, runner, self._data)
        runner.worker = self._worker = worker
        if settings.get("data_keys"):
            self._data.ask = self._ask
        added = await worker.begin()
        if dask.config.get("distributed.worker.profile.enabled"):
            Profiler(worker, runner.woken).start()
        Sweeper(runner).start()
        runner.threads.start()
        return added

    async def _exit(self) -> None:
        if self._worker is not None:
            await self._worker.teardown()
        self._end(0)

    def _start_hello(self, settings: dict) -> None:
        self._on_loop(self._hello(settings))

    def _start_call(self, number: int, call: tuple) -> None:
        self._on_loop(serve_call(self._worker, self._out, number, call))

    def _start_exit(self) -> None:
        self._on_loop(self._exit())

    def _update(self, settings: dict) -> None:
        if self._worker is not None:
            self._worker.apply(settings)

    # ---- questions: any thread ----

    def _ask(self, name: str, arguments: list):
        """The worker's answer. Blocks; the reader's thread brings it."""
        future: Future = Future()
        with self._question_lock:
            self._question_count += 1
            number = self._question_count
            self._questions[number] = future
        value, *frames = dumps(arguments)
        payload, fds = pack_payload(value, frames)
        self._out.send(channel.ASK, number, [pack_bytes(name.encode()), *payload], fds)
        self._reading.hurry()
        ok, answer = future.result()
        content = loads(answer)
        if not ok:
            raise KeyError(*arguments) if name == "data_get" else RuntimeError(content)
        return [content] if name == "data_get" else content

    # ---- the exporting thread ----

    def export(self) -> None:
        """Serialise what is asked for, in order. Nothing of the last one is kept while the next is waited for."""
        self._crash_thread()
        thread = threading.get_native_id()
        while (has_failed := self._export(thread, *self._exports.get())) is not None:
            if has_failed:  # an error and its frames, which have the value, refer to one another
                self._runner.worked.set()

    def _export(self, thread: int, handle: int, entry: Entry | None, fds: list[int]) -> bool | None:
        """Whether that failed; None: the worker has gone"""
        slot = self._board.enter(handle, time(), thread, EXPORTING)
        try:
            if entry is None:
                raise KeyError("the object is not here")
            value = entry.get()
            if entry.is_actor:
                value = Actor(type(value), self._worker.address, entry.key, self._worker)
            payload, segment = pack_payload(*serialise(value), *fds)
            self._out.send(channel.EXPORTED, handle, payload, segment)
            return False
        except channel.ChannelClosed:
            return None
        except BaseException as error:
            self._out.send(channel.EXPORT_FAILED, handle, [pack_error(error)])
            return True
        finally:
            self._board.leave(slot)
            for fd in fds:
                os.close(fd)

    # ---- the thread that reads ----

    def _on_loop_soon(self, function, *arguments) -> None:
        self._loop.call_soon_threadsafe(function, *arguments, context=self._context.copy())

    def _put(self, handle: int, body: memoryview, fds: list[int]) -> None:
        kept = memoryview(bytearray(body))
        key, at = take_bytes(kept, 0)
        key = msgpack.unpackb(key, use_list=False, **msgpack_opts)
        self._objects.add(handle, Entry(key, (kept, at, fds)))

    def _drop(self, body: memoryview) -> None:
        count = _first(body)
        for handle in body[4 : 4 + 8 * count].cast("Q"):
            entry = self._objects.drop(handle)
            if entry is not None:
                if entry.is_actor and self._worker is not None:
                    self._worker.state.actors.pop(entry.key, None)

    def _answered(self, number: int, body: memoryview, fds: list[int]) -> None:
        with self._question_lock:
            future = self._questions.pop(number, None)
        kept = memoryview(bytearray(body))
        value, frames = take_payload(kept, 4, fds)
        if future is not None:
            future.set_result((_first(body) == 0, [value, *frames]))

    def _cancel(self, handle: int, body: memoryview, _fds: list[int]) -> None:
        reason = bytes(take_bytes(body, 4)[0]).decode(errors="replace")
        self._runner.cancel(handle, _first(body), reason)

    def _call(self, number: int, body: memoryview, fds: list[int]) -> None:
        call = take_call(memoryview(bytearray(body)), fds)
        self._on_loop_soon(self._start_call, number, call)

    def _settings(self, then, body: memoryview) -> None:
        settings = msgpack.unpackb(take_bytes(body, 0)[0], strict_map_key=False)
        self._on_loop_soon(then, settings)

    def followers(self) -> dict:
        """{op: function(handle, body, fds)}"""
        exports = self._exports
        by_handle = self._objects.by_handle
        return {
            channel.HELLO: lambda _, body, fds: self._settings(self._start_hello, body),
            channel.UPDATE: lambda _, body, fds: self._settings(self._update, body),
            channel.PUT: self._put,
            channel.RUN: self._runner.take,
            channel.EXPORT: lambda handle, _, fds: exports.put((handle, by_handle.get(handle), fds)),
            channel.DROP: lambda _, body, fds: self._drop(body),
            channel.CANCEL: self._cancel,
            channel.CALL: self._call,
            channel.ANSWER: self._answered,
            channel.EXIT: lambda *_: self._on_loop_soon(self._start_exit),
        }

    def give(self, task) -> None:
        """A task that the channel's own thread read."""
        self._runner.threads.put(task)


async def serve(beginning: Beginning) -> int:
    """Until the channel ends; gives the exit status."""
    out, crash_thread = beginning.out, beginning.crash_thread
    reader = channel.go_on_reading(beginning.reader)
    loop = asyncio.get_running_loop()
    ended: asyncio.Future = loop.create_future()

    def end(status: int) -> None:
        if not ended.done():
            ended.set_result(status)

    crash_thread()
    output.install()
    reading = Reading(reader, out, lambda status: loop.call_soon_threadsafe(end, status))
    executor = Executor(out, reading, end, crash_thread, beginning.board)
    followers = reading.followers = executor.followers()
    for op, handle, body, fds in chain([beginning.first], reader.messages()):
        followers[op](handle, body, fds)
    threading.Thread(target=reading.watch, args=(executor.give,), name="channel", daemon=True).start()
    threading.Thread(target=executor.export, name="exports", daemon=True).start()
    return await ended
