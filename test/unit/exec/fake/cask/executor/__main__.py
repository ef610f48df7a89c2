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

from cask.executor import channel, forking
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


def fork(out, handle, fds):
    """As a real one does, or as FAKE says; a Birth in the new process."""
    birth = forking.Birth(*fds)
    fake = os.environ.get("FAKE")
    if fake == "dies-forking":
        os._exit(5)
    elif fake == "barren":
        return None
    why = "it is made of stone" if fake == "unfit" else forking.why_not(forking.find())
    pid = 0
    if fake == "liar":
        pid = os.getppid()
    elif not why:
        pid = forking.find()()
        if pid == 0 and fake == "dies-having-forked":
            ignore_all_and_sleep()
        elif pid == 0:
            return birth
        elif fake == "dies-having-forked":
            os._exit(6)
    birth.close()
    out.send(channel.FORKED, handle, [struct.pack("<I", pid), pack_bytes(why.encode())])
    return None


def serve(peer, line):
    """Until the worker has gone; or a Birth, in the new process."""
    out = Channel(peer)
    messages = channel.all_messages(channel.Reader(peer))
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
        elif op == channel.FORK:
            birth = fork(out, handle, fds)
            if birth is not None:
                peer.close()
                return birth
        elif op == channel.PUT:  # comes back as it is
            key, at = take_bytes(body, 0)
            value, frames = take_payload(body, at, fds)
            payload, fds = pack_payload(value, frames)
            out.send(channel.EXPORTED, handle, payload, fds)
        elif op == channel.RUN:
            deed = body[2][1:].decode()  # its key, a short msgpack string
            threading.Thread(target=run, args=(out, board, crash_thread, handle, deed)).start()
        elif op == channel.EXIT:
            os._exit(0)
    time.sleep(1000)  # it was made deaf
    return None


def main():
    line = take_line()
    peer = socket.socket(fileno=3)
    if os.environ.get("FAKE") == "stillborn":
        sys.stderr.write("no module named dask\n")
        sys.exit(3)
    while True:
        birth = serve(peer, line)
        forking.settle(birth)
        peer, line = socket.socket(fileno=birth.channel), birth.line


main()
