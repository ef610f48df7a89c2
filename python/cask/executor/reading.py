"""Who reads the channel: whoever is about to wait for work.

A thread that runs tasks and has none reads for itself, and runs what it read: no other thread has to be woken for
a task. While all of them are busy, the channel's own thread reads. Nobody tells it to, as that would cost a
switch of threads for each task: it looks every few milliseconds, and sleeps when nothing has happened for a while.
"""

from __future__ import annotations

import os
import threading
import traceback

from cask.executor import channel

_LOOK = 0.005  # seconds between two looks: as long as Python lets a busy thread keep the interpreter
_LOOKS_IN_VAIN = 40  # until it sleeps


class Reading:
    """The role of the reader, held by one thread at a time."""

    def __init__(self, reader, out: channel.Channel, ended):
        """`ended(status)` is called once, by the thread that reads then."""
        self._reader = reader
        self._out = out
        self._ended = ended
        self.followers: dict = {}  # {op: function(handle, body, fds)}; that of RUN gives what is to be run
        self._role = threading.Lock()
        self._turns = 0
        self._is_over = False
        self._is_shared = False
        self._count_read = None  # function: how much of what was read nobody has begun
        self._wake = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._busy = threading.Event()  # there is something to look at
        self._hurry = threading.Event()  # a thread waits for an answer

    def share(self, count_read) -> None:
        """From now on there are threads that read for themselves, when `count_read()` is 0."""
        self._count_read = count_read
        self._is_shared = True

    def interrupt(self) -> None:
        """Let the reader look for work that did not come by the channel."""
        os.eventfd_write(self._wake, 1)

    def hurry(self) -> None:
        """Somebody must read: the caller is going to wait for an answer."""
        self._busy.set()
        self._hurry.set()

    def _read(self) -> list:
        """Follow messages until one is a RUN, or the reader is interrupted. What is to be run."""
        followers = self.followers
        while True:
            got = self._reader.try_receive()
            if got == 0:
                self._out.may_hold(False)  # nobody would look
                if not self._reader.wait(self._wake):
                    return []
                got = 1 if self._reader.receive() else 2
            if got == 2:
                raise channel.ChannelClosed("the worker has gone")
            work = []
            for op, handle, body, fds in self._reader.messages():
                found = followers[op](handle, body, fds)
                if op == channel.RUN:
                    work.append(found)
            if work:
                self._out.may_hold(True)
                return work

    def turn(self, give=None) -> list | None:
        """Take the role, if it is free, until there is something to run; None: another thread has it. With `give` that
        gets it. Who keeps it must find nothing that was read before: tasks run in the order in which they came."""
        if self._is_over or not self._role.acquire(blocking=False):
            return None
        try:
            if give is None:
                return [] if self._count_read() else self._read()
            for work in self._read():
                give(work)  # before the role is free: the next one reads what comes after it
            return None
        except BaseException as error:
            self._is_over = True
            is_end = isinstance(error, (channel.ChannelClosed, ConnectionError))
            if not is_end:
                traceback.print_exc()
            self._ended(0 if is_end else 1)
            return None
        finally:
            self._turns += 1
            self._role.release()
            if not self._busy.is_set():
                self._busy.set()

    def watch(self, give) -> None:
        """The channel's own thread: read when nobody else does, and give(what is to be run)."""
        vain = 0
        while not self._is_over:
            turns = self._turns
            if self._is_shared:
                if vain == _LOOKS_IN_VAIN:
                    vain = 0
                    self._busy.clear()
                    if self._role.locked():  # else: it was just given up, by one that found _busy set
                        self._busy.wait()
                if self._hurry.wait(_LOOK):
                    self._hurry.clear()
                elif self._turns != turns:
                    vain = 0
                    continue
                if self._role.locked():
                    vain += 1
                    continue
            self.turn(give)
            vain = 0
