"""The threads that run tasks. Looks like distributed's ThreadPoolExecutor to secede() and rejoin(),
which reach into it, and to user code that submits to ``worker.executor``."""

from __future__ import annotations

import itertools
import threading
from collections import deque
from concurrent.futures import Executor, Future
from contextlib import ExitStack
from queue import SimpleQueue

from distributed.threadpoolexecutor import thread_state


class _Call:
    """A function somebody submitted."""

    def __init__(self, future, function, args, kwargs):
        self._future = future
        self._what = (function, args, kwargs)

    def run(self) -> None:
        if not self._future.set_running_or_notify_cancel():
            return
        function, args, kwargs = self._what
        try:
            result = function(*args, **kwargs)
        except BaseException as error:
            self._future.set_exception(error)
        else:
            self._future.set_result(result)


class _Look:
    """Work for a thread that waits: to look around, as nobody reads any more."""

    def run(self) -> None:
        pass


_LOOK = _Look()


class TaskThreads(Executor):
    """At most `count` threads take work off a queue, in order. Daemons: they never hold up an exit."""

    def __init__(self, count: int, prefix: str, reading, surroundings):
        """`reading`: where work comes from; `surroundings`: contexts in which each thread runs, made
        by calling each."""
        self._count = count
        self._reading = reading
        self._prefix = prefix
        self._surroundings = surroundings
        self._numbers = itertools.count()
        self._queue: SimpleQueue = SimpleQueue()
        self._max_workers = count  # stock's name: Worker reads it
        self._waiting: deque = deque()  # an item for each thread that waits for the queue
        self._threads: set[threading.Thread] = set()
        self._rejoin_list: list = []
        self._rejoin_lock = threading.Lock()
        self._shutdown = False

    def put(self, work) -> None:
        """Anything with run()."""
        self._queue.put(work)

    def waiting(self) -> int:
        return self._queue.qsize()

    def start(self) -> None:
        self._reading.share(self._queue.qsize)
        for _ in range(self._count):
            self._adjust_thread_count()

    def submit(self, fn, /, *args, **kwargs) -> Future:
        future: Future = Future()
        self._queue.put(_Call(future, fn, args, kwargs))
        self._reading.interrupt()
        return future

    def shutdown(self, wait=True, *, cancel_futures=False, timeout=None) -> None:
        self._shutdown = True
        self._queue.put(None)
        self._reading.interrupt()

    def _adjust_thread_count(self) -> None:
        if len(self._threads) < self._count:
            thread = threading.Thread(
                target=self._main, name=f"{self._prefix}-{next(self._numbers)}", daemon=True
            )
            self._threads.add(thread)
            thread.start()

    def _make_way(self) -> bool:
        """Leave, for a thread that wants to come back; False if none does."""
        with self._rejoin_lock:
            if not self._rejoin_list:
                return False
            thread, event = self._rejoin_list.pop()
            self._threads.add(thread)
            self._threads.discard(threading.current_thread())
            event.set()
            return True

    def _next(self):
        """What to run next; None: look around first."""
        if self._queue.qsize() == 0:
            work = self._reading.turn()
            if work is not None:
                for other in work[1:]:
                    self._queue.put(other)
                if len(work) - 1 < len(self._waiting):
                    self._queue.put(_LOOK)
                return work[0] if work else None
        self._waiting.append(None)
        try:
            return self._queue.get()
        finally:
            self._waiting.pop()

    def _main(self) -> None:
        thread_state.proceed = True
        thread_state.executor = self
        with ExitStack() as stack:
            for surrounding in self._surroundings:
                stack.enter_context(surrounding())
            while thread_state.proceed:
                if self._rejoin_list and self._make_way():
                    return
                work = self._next()
                if work is not None:
                    work.run()
                    del work
                elif self._shutdown:
                    self._queue.put(None)
                    return
