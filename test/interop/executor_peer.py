"""The worker's side of the executor protocol (docs/executor.md), for tests that drive one directly."""

from __future__ import annotations

import os
import pathlib
import socket
import struct
import subprocess
import sys
import tempfile
import time
from types import SimpleNamespace

import msgpack
from distributed.protocol import dumps, loads
from distributed.protocol.serialize import Serialize, ToPickle

PACKAGE = pathlib.Path(__file__).resolve().parents[2] / "python"
sys.path.insert(0, str(PACKAGE))

from cask.executor import channel
from cask.executor.channel import pack_bytes, pack_payload, take_bytes, take_payload

HERE = pathlib.Path(__file__).resolve().parent
SLOTS = 16


def _key_bytes(key) -> bytes:
    return msgpack.packb(key)


class Peer:
    """One executor, and the worker's end of its channel."""

    def __init__(self, nthreads=1, scheduler="tcp://127.0.0.1:1", environment=None, **settings):
        ours, theirs = socket.socketpair()
        self.board = os.memfd_create("board")
        os.ftruncate(self.board, 64 * (1 + SLOTS))
        self.crash_log = os.memfd_create("crash-log")
        path = os.pathsep.join([str(PACKAGE), str(HERE), *filter(None, [os.environ.get("PYTHONPATH")])])
        self.directory = tempfile.TemporaryDirectory(prefix="cask-executor-")

        def place() -> None:
            os.dup2(theirs.fileno(), 3)

        self.process = subprocess.Popen(
            [sys.executable, "-m", "cask.executor"],
            stdin=subprocess.DEVNULL,
            pass_fds=(3,) if theirs.fileno() == 3 else (3, theirs.fileno()),
            preexec_fn=place,
            env={**os.environ, "PYTHONPATH": path, **(environment or {})},
            cwd=self.directory.name,
        )
        theirs.close()
        ours.settimeout(60)
        self.socket = ours
        self.channel = channel.Channel(ours)
        self._incoming = channel.all_messages(channel.Reader(ours))
        self._handle = 0
        self.events = []  # OUTPUT, TELL, SECEDED … seen while waiting for something else
        self.send(
            channel.START, 0, [struct.pack("<I", SLOTS)], [os.dup(self.board), os.dup(self.crash_log)]
        )
        self.facts = self.wait(channel.READY).map
        hello = {
            "address": "tcp://127.0.0.1:2",
            "name": "alice",
            "nthreads": nthreads,
            "scheduler": scheduler,
            "local_directory": self.directory.name,
            "memory_limit": 2**30,
            **settings,
        }
        self.send(channel.HELLO, 0, [pack_bytes(msgpack.packb(hello))])
        self.welcome = self.wait(channel.WELCOME)

    def send(self, op, handle, parts, fds=()):
        self.channel.send(op, handle, parts, list(fds))

    # ---- what comes ----

    def receive(self):
        """The next message as a namespace."""
        op, handle, body, fds = next(self._incoming)
        body = memoryview(bytearray(body))
        message = SimpleNamespace(op=op, handle=handle, body=body, fds=fds)
        at = 0
        if op == channel.READY:
            content, at = take_bytes(body, 0)
            message.map = msgpack.unpackb(content)
        elif op == channel.WELCOME:
            text, at = take_bytes(body, 0)
            content, at = take_bytes(body, at)
            message.text, message.map = bytes(text).decode(), msgpack.unpackb(content)
        elif op == channel.DONE:
            at = self._ledger(message, 0)
            (message.nbytes,) = struct.unpack_from("<Q", body, at)
            message.type, at = take_bytes(body, at + 8)
            name, at = take_bytes(body, at)
            message.typename = bytes(name).decode()
            message.payload = take_payload(body, at, fds)
        elif op == channel.FAILED:
            self._error(message, self._ledger(message, 0))
        elif op == channel.EXPORT_FAILED:
            self._error(message, 0)
        elif op in (channel.EXPORTED, channel.REPLY):
            message.payload = take_payload(body, 0, fds)
        elif op in (channel.TELL, channel.ASK):
            name, at = take_bytes(body, 0)
            message.name = bytes(name).decode()
            value, frames = take_payload(body, at, fds)
            message.content = loads([value, *frames])
        elif op == channel.OUTPUT:
            message.stream, message.size = struct.unpack_from("<IQ", body, 0)
            message.text = bytes(take_bytes(body, 12)[0]).decode()
        elif op == channel.SECEDED:
            (message.seconds,) = struct.unpack("<d", body)
        elif op == channel.CANCELLED:
            (message.had_begun,) = struct.unpack("<I", body)
        return message

    @staticmethod
    def _ledger(message, at):
        names = (
            "prepared start stop thread cpu_user cpu_system rss_peak rss_growth faults_minor "
            "faults_major read_bytes written_bytes"
        ).split()
        values = struct.unpack_from("<dddQddQQQQQQ", message.body, at)
        message.ledger = SimpleNamespace(**dict(zip(names, values, strict=True)))
        metrics, at = take_bytes(message.body, at + struct.calcsize("<dddQddQQQQQQ"))
        message.ledger.metrics = msgpack.unpackb(metrics, use_list=False) if metrics else ()
        return at

    @staticmethod
    def _error(message, at):
        for name in ("exception", "traceback", "exception_text", "traceback_text", "typename"):
            content, at = take_bytes(message.body, at)
            content = bytes(content)
            setattr(message, name, content.decode() if name.endswith(("text", "name")) else content)

    def wait(self, *ops, handle=None):
        """The first message of these ops (about this handle), seen already or to come; those that
        come meanwhile are kept in `events`."""

        def fits(message):
            return message.op in ops and handle in (None, message.handle)

        for i, message in enumerate(self.events):
            if fits(message):
                return self.events.pop(i)
        while not fits(message := self.receive()):
            self.events.append(message)
        return message

    # ---- what is asked ----

    def new_handle(self):
        self._handle += 1
        return self._handle

    def put(self, key, value):
        handle = self.new_handle()
        _, *frames = dumps(Serialize(value))
        value = msgpack.packb({"__Serialized__": 1})
        payload, fds = pack_payload(value, frames)
        self.send(channel.PUT, handle, [pack_bytes(_key_bytes(key)), *payload], fds)
        return handle

    def run(self, task, inputs=(), actor=False, small=False, annotations=None):
        """Send a task (dask's GraphNode); its handle."""
        handle = self.new_handle()
        _, *frames = dumps(ToPickle(task))
        payload, fds = pack_payload(msgpack.packb({"__Pickled__": 1}), frames)
        parts = [
            struct.pack(f"<II{len(inputs)}Q", actor | small << 1, len(inputs), *inputs),
            pack_bytes(_key_bytes(task.key)),
            pack_bytes(msgpack.packb(annotations) if annotations else b""),
            *payload,
        ]
        self.send(channel.RUN, handle, parts, fds)
        return handle

    def call(self, op, **arguments):
        """An operation's reply."""
        number = self.new_handle()
        value, *frames = dumps(arguments)
        payload, fds = pack_payload(value, frames)
        self.send(channel.CALL, number, [struct.pack("<I", 0), pack_bytes(op.encode()), *payload], fds)
        value, frames = self.wait(channel.REPLY, handle=number).payload
        return loads([value, *frames])

    def tell_stream(self, op, **arguments):
        value, *frames = dumps(arguments)
        payload, fds = pack_payload(value, frames)
        self.send(channel.CALL, 0, [struct.pack("<I", 1), pack_bytes(op.encode()), *payload], fds)

    def answer(self, question, content, ok=True):
        value, *frames = dumps(content)
        payload, fds = pack_payload(value, frames)
        self.send(channel.ANSWER, question.handle, [struct.pack("<I", not ok), *payload], fds)

    def export(self, handle):
        self.send(channel.EXPORT, handle, [])
        return self.wait(channel.EXPORTED, channel.EXPORT_FAILED, handle=handle)

    def fetch(self, handle):
        """The value of a handle, as a peer would read it."""
        message = self.export(handle)
        assert message.op == channel.EXPORTED, message.exception_text
        value, frames = message.payload
        return loads([value, *frames])

    def drop(self, *handles):
        self.send(channel.DROP, 0, [struct.pack(f"<I{len(handles)}Q", len(handles), *handles)])

    def cancel(self, handle, timeout_reason=None):
        reason = pack_bytes((timeout_reason or "").encode())
        self.send(channel.CANCEL, handle, [struct.pack("<I", timeout_reason is not None), reason])

    def recall(self, handle):
        self.send(channel.CANCEL, handle, [struct.pack("<I", 2), pack_bytes(b"")])

    def running(self):
        """[(handle, flags)] from the board."""
        content = os.pread(self.board, 64 * (1 + SLOTS), 0)
        slots = [struct.unpack_from("<QdQQ", content, 64 * i) for i in range(1, SLOTS + 1)]
        return [(handle, flags) for handle, _, _, flags in slots if handle]

    def wait_until_running(self, handle, flags=0):
        """Until the board shows the task."""
        deadline = time.time() + 60
        while (handle, flags) not in self.running():
            assert time.time() < deadline, f"task {handle} does not run: {self.running()}"
            time.sleep(0.005)

    def wait_until_idle(self):
        """Until the board is empty: a task leaves it after its answer."""
        deadline = time.time() + 60
        while self.running():
            assert time.time() < deadline, f"still there: {self.running()}"
            time.sleep(0.005)

    def close(self):
        self.socket.close()
        try:
            self.process.wait(10)
        finally:
            self.process.kill()
            self.process.wait()
            os.close(self.board)
            os.close(self.crash_log)
            self.directory.cleanup()


def wait_for_file(path):
    """A task that lasts until a test says so."""
    while not os.path.exists(path):
        time.sleep(0.005)
