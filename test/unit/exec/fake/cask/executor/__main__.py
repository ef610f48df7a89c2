"""Does what a test asks by the key of a RUN, as a real executor's task might."""

from __future__ import annotations

import ctypes
import faulthandler
import mmap
import os
import signal
import socket
import struct
import sys
import threading
import time

from cask.executor import channel
from cask.executor.board import Board
from cask.executor.channel import Channel, pack_bytes, pack_payload, take_bytes, take_payload
from cask.executor.crash import install, take_line


def overflow():
    callback = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_int)

    @callback
    def deeper(n):
        return deeper(n + 1)

    sys.setrecursionlimit(10**9)
    deeper(0)


def bus_error():
    fd = os.memfd_create("short")
    os.ftruncate(fd, 4096)
    memory = mmap.mmap(fd, 4096)
    os.ftruncate(fd, 0)
    return memory[0]


def ignore_all_and_sleep():
    signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 30))
    time.sleep(1000)


DEEDS = {
    "segfault": lambda: ctypes.string_at(16),
    "abort": os.abort,
    "exit": lambda: os._exit(7),
    "overflow": overflow,
    "bus": bus_error,
    "kill": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "sleep": ignore_all_and_sleep,
    "garbage": lambda: os.write(3, b"\xff" * 64),
    "deaf": lambda: socket.socket(fileno=os.dup(3)).shutdown(socket.SHUT_RDWR),
}


def run(out, board, crash_thread, handle, deed):
    crash_thread()
    slot = board.enter(handle, time.time(), threading.get_native_id())
    sys.stderr.write(f"about to {deed}\n")
    sys.stderr.flush()
    DEEDS[deed]()
    board.leave(slot)


def main():
    line = take_line()
    peer = socket.socket(fileno=3)
    out = Channel(peer)
    if os.environ.get("FAKE") == "stillborn":
        sys.stderr.write("no module named dask\n")
        sys.exit(3)
    messages = iter(channel.Reader(peer))
    op, _, body, (board_fd, crash_log) = next(messages)
    assert op == channel.START
    board = Board(board_fd, struct.unpack_from("<I", body)[0])
    crash_thread = install(line, crash_log)
    assert faulthandler.is_enabled()
    if os.environ.get("FAKE") != "mute":
        out.send(channel.READY, 0, [pack_bytes(b"\x80")])
    for op, handle, body, fds in messages:
        if op == channel.HELLO:
            out.send(channel.WELCOME, 0, [pack_bytes(b""), pack_bytes(b"\x80")])
        elif op == channel.PUT:  # comes back as it is
            key, at = take_bytes(body, 0)
            value, frames = take_payload(body, at, fds)
            payload, fds = pack_payload(value, frames)
            out.send(channel.EXPORTED, handle, payload, fds)
        elif op == channel.RUN:
            _, count = struct.unpack_from("<II", body, 0)
            key, at = take_bytes(body, 8 + 8 * count)
            deed = bytes(key[1:]).decode()  # a short msgpack string
            threading.Thread(target=run, args=(out, board, crash_thread, handle, deed)).start()
        elif op == channel.EXIT:
            os._exit(0)
    time.sleep(1000)  # it was made deaf


main()
