"""Processes that end when this one does, started and watched by one thread.

The kernel ends a child with the *thread* that started it (cask asks for that, see CASK_PARENT_PID in
cask(1)), so all are started by a thread that stays as long as this process. It also passes on what they
write to standard error, and keeps the last lines: they say why a process did not start. Nothing here
waits for the event loop of a cluster, which user code may hold up.
"""

from __future__ import annotations

import contextlib
import logging
import os
import queue
import re
import selectors
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import Future

READ_BYTES = 1 << 16
LINES_KEPT = 200
# As distributed.admin.log-format is, if nobody has changed it.
RECORD = re.compile(r"[-0-9]+ [:,0-9]+ - \S+ - (DEBUG|INFO|WARNING|ERROR|CRITICAL) - ")
LINE_BYTES_MAX = 1 << 14  # a line that is longer is told in parts


class Child:
    """A process. `ended` gives how: an exit code, or minus the number of a signal."""

    def __init__(self, popen: subprocess.Popen, silence: int):
        self._popen = popen
        self._silence = silence
        self._part = b""  # of a line whose end has not come
        self._lines: deque[str] = deque(maxlen=LINES_KEPT)
        self.ended: Future[int] = Future()
        self.ended.set_running_or_notify_cancel()  # who stops waiting for it does not cancel it

    @property
    def pid(self) -> int:
        return self._popen.pid

    @property
    def log(self) -> str:
        """The last lines that it wrote to standard error."""
        return "\n".join(self._lines)

    def signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        self._popen.send_signal(number)

    # What follows is the keeper's.

    def heard(self, data: bytes, is_last: bool = False) -> None:
        *whole, part = (self._part + data).split(b"\n")
        if part and (is_last or len(part) > LINE_BYTES_MAX):
            whole, part = [*whole, part], b""
        self._part = part
        lines = [line.decode(errors="replace") for line in whole]
        self._lines.extend(lines)
        told = [line for line in lines if not self._is_silent(line)]
        if told and sys.stderr is not None:
            with contextlib.suppress(OSError, ValueError):  # closed: nobody wants to know
                sys.stderr.write("\n".join(told) + "\n")
                sys.stderr.flush()

    def _is_silent(self, line: str) -> bool:
        """As stock's silence_logs: logged all the same, so `get_logs` has it, but not shown."""
        record = RECORD.match(line)
        return record is not None and getattr(logging, record[1]) < self._silence

    def reap(self) -> None:
        self.ended.set_result(self._popen.wait())


class Keeper(threading.Thread):
    """The thread. It is never stopped, or its children would be."""

    def __init__(self):
        super().__init__(name="cask-keeper", daemon=True)
        self._wanted: queue.SimpleQueue[Callable[[], None]] = queue.SimpleQueue()
        self._selector = selectors.DefaultSelector()
        self._wake_fd = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._selector.register(self._wake_fd, selectors.EVENT_READ, self._woken)

    def start_child(self, argv: list[str], environment: dict[str, str], silence: int) -> Future[Child]:
        started: Future[Child] = Future()
        started.set_running_or_notify_cancel()

        def start() -> None:
            try:
                started.set_result(self._start(argv, environment, silence))
            except BaseException as error:  # whoever waits for it is told
                started.set_exception(error)

        self._wanted.put(start)
        os.eventfd_write(self._wake_fd, 1)
        return started

    def run(self) -> None:
        while True:
            for key, _ in self._selector.select():
                key.data()

    def _woken(self) -> None:
        os.eventfd_read(self._wake_fd)
        while not self._wanted.empty():
            self._wanted.get()()

    def _start(self, argv: list[str], environment: dict[str, str], silence: int) -> Child:
        popen = subprocess.Popen(
            argv,
            env={**environment, "CASK_PARENT_PID": str(os.getpid())},
            stdin=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            bufsize=0,
            start_new_session=True,  # Ctrl-C is for whoever waits here, not for the cluster
        )
        child = Child(popen, silence)
        errors = popen.stderr
        os.set_blocking(errors.fileno(), False)
        end = os.pidfd_open(popen.pid)

        def heard() -> None:
            data = errors.read(READ_BYTES)
            if data == b"":
                self._selector.unregister(errors)
                errors.close()
            elif data is not None:
                child.heard(data)

        def over() -> None:
            self._selector.unregister(end)
            os.close(end)
            while not errors.closed and (data := errors.read(READ_BYTES)):
                child.heard(data)
            child.heard(b"", is_last=True)
            child.reap()

        self._selector.register(errors, selectors.EVENT_READ, heard)
        self._selector.register(end, selectors.EVENT_READ, over)
        return child


_keeper: Keeper | None = None
_lock = threading.Lock()


def start_child(argv: list[str], environment: dict[str, str], silence: int | str | None) -> Future[Child]:
    """Start a program; any thread. Its log records below the level `silence` are not shown. Fails with OSError."""
    global _keeper
    level = getattr(logging, silence.upper()) if isinstance(silence, str) else silence or 0
    with _lock:
        if _keeper is None:
            _keeper = Keeper()
            _keeper.start()
        return _keeper.start_child(argv, environment, level)


def _forget() -> None:
    """In a fork there is no such thread, and the children are not ours."""
    global _keeper, _lock
    _keeper, _lock = None, threading.Lock()


os.register_at_fork(after_in_child=_forget)
