"""From START to the first message that makes an executor somebody; FORKs before it are followed.

An executor that waits has imported what all need and has one thread, so others can be forked from
it: they share its memory until one of them writes to it. docs/executor.md, "Forked executors".
"""

from __future__ import annotations

import gc
import os
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass

import dask
import distributed
import msgpack
import tornado.platform.asyncio  # noqa: F401  what the first event loop imports

from cask.executor import channel, forking
from cask.executor.board import Board
from cask.executor.channel import U32, pack_bytes
from cask.executor.crash import install


@dataclass
class Beginning:
    """What an executor has before it knows whose it is."""

    peer: socket.socket
    line: int
    out: channel.Channel
    reader: channel.Reader
    board: Board
    crash_log: int
    crash_thread: Callable[[], object]  # to call in each thread that runs tasks
    first: tuple = ()  # the message that came then: op, handle, body, descriptors

    def close(self) -> None:
        """It was another process's."""
        self.peer.close()
        self.board.close()
        for fd in (self.line, self.crash_log):
            if fd >= 0:
                os.close(fd)


def _facts() -> bytes:
    return msgpack.packb(
        {
            "pid": os.getpid(),
            "version": 1,
            "python": sys.version.split()[0],
            "versions": {"dask": dask.__version__, "distributed": distributed.__version__},
        }
    )


def _start(line: int, incoming) -> tuple[Board, int, Callable]:
    """Follow START: the board, and what is ready for a crash."""
    op, _, body, fds = next(incoming)
    if op != channel.START:
        raise ValueError(f"the first message is {op}, not START")
    board_fd, crash_log = fds
    board = Board(board_fd, U32.unpack_from(body, 0)[0])
    os.close(board_fd)
    return board, crash_log, install(line, crash_log)


def _wait(beginning: Beginning, incoming, fork) -> forking.Birth | None:
    """Until there is more to do than to fork. Comes back with a Birth in each new process."""
    for message in incoming:
        op, number, _, fds = message
        if op != channel.FORK:
            beginning.first = message
            return None
        birth = forking.Birth(*fds)
        why = forking.why_not(fork)
        pid = 0 if why else fork()
        if pid == 0 and not why:
            return birth
        if pid < 0:
            why, pid = f"clone3: {os.strerror(-pid)}", 0
        birth.close()
        beginning.out.send(channel.FORKED, number, [U32.pack(pid), pack_bytes(why.encode())])
    os._exit(0)  # the worker has gone


def begin(peer: socket.socket, line: int) -> Beginning:
    """Wait to be needed. Comes back once in each process that is: this one, or one that was forked from it."""
    fork = forking.find()
    gc.collect()
    gc.freeze()  # what was imported stays: not looked at again, so its pages stay shared
    while True:
        reader = channel.Reader(peer)
        incoming = channel.all_messages(reader)
        board, crash_log, crash_thread = _start(line, incoming)
        out = channel.Channel(peer)
        beginning = Beginning(peer, line, out, reader, board, crash_log, crash_thread)
        out.send(channel.READY, 0, [pack_bytes(_facts())])
        birth = _wait(beginning, incoming, fork)
        if birth is None:
            return beginning
        beginning.close()
        forking.settle(birth)
        peer, line = socket.socket(fileno=birth.channel), birth.line
