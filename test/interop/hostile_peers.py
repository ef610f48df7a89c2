"""Peers that mean no good: raw connections over every transport, and what they send.

A `Gate` is one address of the scheduler under test. `gate.dial()` does the handshake of the transport (TLS,
websocket), `gate.socket()` does not; `gate.encode()` puts the frames of a message on the wire of that transport.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import pathlib
import random
import socket
import ssl
import struct
import subprocess

import msgpack

ROOT = pathlib.Path(__file__).resolve().parents[2]
HANDSHAKE = {"compression": None, "python": [3, 11, 7], "pickle-protocol": 5}
# Orders that rightly end or change things when anybody gives them, and what would only make the test wait.
NOT_SENT = {
    "terminate", "close", "restart", "restart_workers", "retire_workers", "register_worker_plugin",
    "register_nanny_plugin", "feed", "benchmark_hardware", "run_function",
}  # fmt: skip


def table():
    """The messages a scheduler takes: (op, is stream, fields)"""
    command = [ROOT / "build/cask", "internals", "messages", "--json"]
    rows = json.loads(subprocess.run(command, check=True, capture_output=True).stdout)
    return [
        (row["op"], row["port"] == "SCHEDULER_STREAM", row["fields"])
        for row in rows
        if row["port"] in ("SCHEDULER_RPC", "SCHEDULER_STREAM") and row["op"] not in NOT_SENT
    ]


def packed(value):
    return msgpack.packb(value, use_bin_type=True)


def frames_of(*frames):
    """As tcp, tls and unix have them: sizes first"""
    head = struct.pack(f"<{len(frames) + 1}Q", len(frames), *map(len, frames))
    return struct.pack("<Q", len(head) + sum(map(len, frames))) + head + b"".join(frames)


def ws_frame(payload, opcode=2, size=None, is_masked=True, is_final=True):
    """One websocket frame; `size` may lie"""
    size = len(payload) if size is None else size
    mask_bit = 0x80 if is_masked else 0
    if size < 126:
        head = struct.pack(">BB", is_final << 7 | opcode, mask_bit | size)
    elif size < 1 << 16:
        head = struct.pack(">BBH", is_final << 7 | opcode, mask_bit | 126, size)
    else:
        head = struct.pack(">BBQ", is_final << 7 | opcode, mask_bit | 127, size)
    return head + (b"\0\0\0\0" if is_masked else b"") + payload  # a mask of zeros changes nothing


def ws_request(path="/", **headers):
    headers = {
        "Host": "x",
        "Upgrade": "websocket",
        "Connection": "Upgrade",
        "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode(),
        "Sec-WebSocket-Version": "13",
    } | headers
    lines = [f"GET {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join(lines).encode() + b"\r\n\r\n"


class Gate:
    """Where a scheduler listens, and how to get in"""

    def __init__(self, address, certificate=None):
        self.address = address
        self.scheme, _, self.place = address.partition("://")
        self.certificate = certificate

    @property
    def is_ws(self):
        return self.scheme in ("ws", "wss")

    def socket(self):
        """A connection without any handshake"""
        if self.scheme == "unix":
            connection = socket.socket(socket.AF_UNIX)
            connection.settimeout(10)
            connection.connect(self.place)
            return connection
        host, port = self.place.rsplit(":", 1)
        return socket.create_connection((host, int(port)), timeout=10)

    def dial(self):
        """Through the handshakes below Dask's own"""
        connection = self.socket()
        if self.scheme in ("tls", "wss"):
            cert, key = self.certificate
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
            context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
            context.load_cert_chain(cert, key)
            connection = context.wrap_socket(connection)
        if self.is_ws:
            connection.sendall(ws_request())
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                head += connection.recv(1) or b"\r\n\r\n"
            assert head.startswith(b"HTTP/1.1 101"), head
        return connection

    def peer(self):
        """Through Dask's handshake as well"""
        connection = self.dial()
        connection.sendall(self.pack(HANDSHAKE))
        return connection

    def encode(self, *frames):
        if not self.is_ws:
            return frames_of(*frames)
        return b"".join(map(ws_frame, (struct.pack("<Q", len(frames)), *frames)))

    def pack(self, value):
        return self.encode(packed(value))

    def ask(self, value):
        """The bytes that answer a call (and the handshake before it), as far as they come at once"""
        with contextlib.closing(self.peer()) as connection:
            connection.sendall(self.pack({**value, "reply": True}))
            answer = b""
            while value["op"].encode() not in answer and b"Scheduler" not in answer:
                more = connection.recv(1 << 16)
                assert more, f"{self.address} closed the connection after {answer!r}"
                answer += more
            return answer


# ---- values ------------------------------------------------------------------------------------


def anything(rng, depth=0):
    """A random value: mostly small, sometimes a key, a placeholder or a set"""
    choices = [
        None, True, False, 0, 1, -1, 2**31, -(2**63), 2**64 - 1, 0.5, float("inf"), float("nan"), -1e308,
        "", "x-1", "tcp://127.0.0.1:1", "nonsense://", "\u2028 é", "a" * 300, b"", b"\x80\x05N.", b"\xff" * 40,
        {"__Serialized__": rng.randrange(4)}, {"__Pickled__": rng.randrange(4)},
        {"__Set__": True, "as-list": ["x-1", 2]}, {"__Enum__": True, "name": "x"},
    ]  # fmt: skip
    if depth < 3 and rng.random() < 0.3:
        if rng.random() < 0.5:
            return [anything(rng, depth + 1) for _ in range(rng.randrange(4))]
        return {
            rng.choice(["x-1", "memory", "workers", "total", "name", 1, 2.5]): anything(rng, depth + 1)
            for _ in range(rng.randrange(4))
        }
    return rng.choice(choices)


def plausible(rng, field):
    """A value of the field's own type, so that the message gets past the decoder"""
    kind = field["type"]
    if kind == "STR":
        return rng.choice(["x", "tcp://127.0.0.1:9", "running", "", "hostile", "nosuch"])
    if kind == "KEY":
        return rng.choice(["x-1", 5, ["t", 0], 1.5])
    if kind == "KEYS":
        return [rng.choice(["x-1", "y", ["t", 1], 7]) for _ in range(rng.randrange(4))]
    if kind == "INT":
        return rng.choice([0, 1, -1, 3, 2**40, -(2**40)])
    if kind == "FLOAT":
        return rng.choice([0.0, 0.1, -1.0, 1e18])
    if kind == "BOOL":
        return rng.random() < 0.5
    if kind == "BIN":
        return rng.choice([b"", b"\x80\x05N.", b"junk"])
    return anything(rng)


def message(rng, row):
    op, _, fields = row
    body = {"op": op}
    for field in fields:
        chance = rng.random()
        if chance < 0.1:
            continue
        body[field["name"]] = anything(rng) if chance < 0.35 else plausible(rng, field)
    if rng.random() < 0.1:
        body["surprise"] = anything(rng)
    return body


# ---- attacks -----------------------------------------------------------------------------------


def swallow(connection, seconds=0.02):
    """Read what comes until nothing does; errors are the peer's right"""
    with contextlib.suppress(OSError):
        connection.settimeout(seconds)
        while connection.recv(1 << 16):
            pass
    connection.close()


def send(connection, data):
    with contextlib.suppress(OSError):  # refused earlier: that is what is wanted
        connection.sendall(data)


def vanish(connection):
    """Gone at once: the other side gets a reset"""
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def rpcs(rng, gate, rows):
    for row in rows:
        connection = gate.peer()
        send(connection, gate.pack({**message(rng, row), "reply": True}))
        swallow(connection)


def client(rng, gate, rows):
    connection = gate.peer()
    send(connection, gate.pack({"op": "register-client", "client": f"hostile-{rng.random()}", "reply": False}))
    send(connection, gate.pack([message(rng, row) for row in rows]))
    swallow(connection)


def worker(rng, gate, rows):
    connection = gate.peer()
    bandwidth = {"total": 1, "workers": {}, "types": {}}
    metrics = {"memory": 1, "spilled_bytes": {"memory": 0, "disk": 0}, "bandwidth": bandwidth}
    send(connection, gate.pack({
        "op": "register-worker", "reply": False, "address": f"tcp://127.0.0.1:{rng.randrange(1, 9)}",
        "status": "init", "nthreads": 1, "name": f"hostile-{rng.random()}", "now": 0.0, "resources": {},
        "memory_limit": 1, "local_directory": "", "services": {}, "nanny": None, "versions": {},
        "metrics": metrics, "extra": {}, "stimulus_id": "s", "server_id": "w",
    }))  # fmt: skip
    send(connection, gate.pack([message(rng, row) for row in rows]))
    swallow(connection)


def noise(rng, gate):
    """Bytes that are no messages: cut, stretched, damaged, or not Dask's at all; inside the transport or not"""
    good = gate.pack({"op": "identity", "reply": True})
    damaged = bytearray(good)
    damaged[rng.randrange(len(damaged))] ^= 1 << rng.randrange(8)
    scatter = {"op": "scatter", "data": {"x": {"__Serialized__": 1}}, "workers": None}
    for data in (
        rng.randbytes(rng.randrange(1, 400)),
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        good[: rng.randrange(len(good))],
        struct.pack("<QQ", 2**63, 2**62),
        struct.pack("<3Q", 24, 1, 2**60) + b"x" * 100,
        struct.pack("<2Q", 8, 0),
        bytes(damaged),
        gate.encode(b"\x81" * 100_000),
        gate.encode(b"\xc1"),
        gate.encode(b"", b"", b""),
        gate.encode(packed(scatter), b"\x81\xaenum-sub-frames\xcf" + b"\xff" * 8),
    ):
        connection = rng.choice([gate.peer, gate.dial, gate.socket])()
        send(connection, data)
        if rng.random() < 0.3:
            vanish(connection)
        else:
            swallow(connection)


def ws_noise(rng, gate):
    """What breaks the rules of RFC 6455: before the upgrade, and in frames after it"""
    for data in (
        ws_request(Upgrade="h2c"),
        ws_request(**{"Sec-WebSocket-Version": "12"}),
        ws_request(**{"Sec-WebSocket-Key": "short"}),
        ws_request().replace(b"GET", b"PUT"),
        ws_request("/" + "x" * 20_000),
        b"X" * 20_000,
        b"\r\n\r\n",
    ):
        connection = gate.socket()
        send(connection, data)
        swallow(connection)
    for data in (
        ws_frame(b"x", is_masked=False),
        ws_frame(b"x", size=2**63),
        ws_frame(b"x", size=2**64 - 1),
        ws_frame(b"x" * 200, opcode=9),
        ws_frame(b"x", opcode=8, is_final=False),
        ws_frame(b"x", opcode=0),
        ws_frame(b"x", opcode=11),
        ws_frame(b"x", opcode=1),
        ws_frame(b"x", is_final=False) + ws_frame(b"x"),
        ws_frame(struct.pack("<Q", 2**63)),
        ws_frame(struct.pack("<Q", 2)) + ws_frame(b"\x80"),
        ws_frame(b"") * 1000,
        ws_frame(b"p", opcode=9) * 20_000,
        ws_frame(struct.pack(">H", 1000) + b"bye", opcode=8) + ws_frame(b"after the end"),
        rng.randbytes(300),
    ):
        connection = gate.dial()
        send(connection, data)
        swallow(connection)


def rounds(gate, seed, count=1):
    """All of it, `count` times; the same for the same seed"""
    rows = table()
    calls = [row for row in rows if not row[1]]
    streams = [row for row in rows if row[1]]
    rng = random.Random(seed)
    for _ in range(count):
        rpcs(rng, gate, rng.sample(calls, len(calls)))
        for _ in range(20):
            client(rng, gate, rng.sample(streams, 3))
            worker(rng, gate, rng.sample(streams, 3))
        noise(rng, gate)
        if gate.is_ws:
            ws_noise(rng, gate)
