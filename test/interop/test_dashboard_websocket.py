"""RFC 6455 as the dashboard keeps it: what Autobahn's testsuite (Python 2 only) asks of a server, played on plain sockets.

What is no WebSocket is refused, what is right is answered however it is cut, and what breaks the protocol ends its own
connection, with the code that the RFC wants, and nothing else. Not here: frames without a mask, which libwebsockets takes,
and reserved bits of binary and control frames, which it drops.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import json
import os
import socket
import struct

import pytest
from harness import KIND, Cluster
from observer_stock import get
from test_observer import ON, base_of, child_of

pytestmark = pytest.mark.skipif(KIND != "cask", reason="stock has no such WebSocket")

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
NORMAL, PROTOCOL, UNACCEPTABLE, BAD_TEXT, TOO_BIG = 1000, 1002, 1003, 1007, 1009
DROPPED = None  # the connection, without a word: the RFC allows it, too


@pytest.fixture(scope="module")
def dashboard():
    cluster = Cluster(env=ON)
    try:
        yield cluster
    finally:
        cluster.close()


@pytest.fixture
def base(dashboard):
    """The observer lives through each test"""
    base = base_of(dashboard)
    before = child_of(dashboard.scheduler.pid)
    yield base
    assert get(base + "/health")[2] == b"ok"
    assert child_of(dashboard.scheduler.pid) == before


def frame(opcode, data=b"", final=True, reserved=0, mask=b"\x01\x02\x03\x04", length=None):
    """A client's frame; `length`: what it says its length is, in eight bytes"""
    size = len(data)
    bit = 0x80 if mask else 0
    head = bytes([(0x80 if final else 0) | reserved << 4 | opcode])
    if length is not None:
        head += bytes([bit | 127]) + struct.pack(">Q", length)
    elif size < 126:
        head += bytes([bit | size])
    elif size < 1 << 16:
        head += bytes([bit | 126]) + struct.pack(">H", size)
    else:
        head += bytes([bit | 127]) + struct.pack(">Q", size)
    mask = mask or b""
    return head + mask + bytes(byte ^ mask[i % 4] for i, byte in enumerate(data)) if mask else head + data


class Peer:
    """One connection"""

    def __init__(self, base, path="/api/cask/v1/live"):
        host, port = base.removeprefix("http://").split(":")
        self.socket = socket.create_connection((host, int(port)), 60)
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        key = base64.b64encode(os.urandom(16))
        self.socket.sendall(
            b"GET %s HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: keep-alive, Upgrade\r\n"
            b"Sec-WebSocket-Key: %s\r\nSec-WebSocket-Version: 13\r\n\r\n" % (path.encode(), key)
        )
        self.data = b""
        while b"\r\n\r\n" not in self.data:
            self.data += self.more()
        head, _, self.data = self.data.partition(b"\r\n\r\n")
        accepted = base64.b64encode(hashlib.sha1(key + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest())
        assert head.startswith(b"HTTP/1.1 101") and accepted in head

    def more(self):
        part = self.socket.recv(65536)
        if not part:
            raise EOFError
        return part

    def take(self, size):
        while len(self.data) < size:
            self.data += self.more()
        part, self.data = self.data[:size], self.data[size:]
        return part

    def receive(self):
        """(opcode, data) of the next frame; servers neither mask nor, here, fragment"""
        first, second = self.take(2)
        assert first & 0xF0 == 0x80 and second < 128
        size = second
        if size >= 126:
            (size,) = struct.unpack(">H", self.take(2)) if size == 126 else struct.unpack(">Q", self.take(8))
        return first & 0x0F, self.take(size)

    def send(self, *frames):
        with contextlib.suppress(OSError):  # it may have hung up already
            for one in frames:
                self.socket.sendall(one)

    def end(self):
        """How it ends: the code that it was closed with, or DROPPED. Nothing else may come before"""
        try:
            opcode, data = self.receive()
        except (EOFError, ConnectionError):
            return DROPPED
        assert opcode == CLOSE, (opcode, data)
        self.send(frame(CLOSE, data[:2]))
        with contextlib.suppress(ConnectionError):
            assert self.socket.recv(1) == b""  # and it hangs up
        return struct.unpack(">H", data[:2])[0] if len(data) >= 2 else None

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.socket.close()


def ping(number):
    return json.dumps({"ping": number}).encode()


def is_answered(peer, number):
    opcode, data = peer.receive()
    return opcode == TEXT and json.loads(data) == {"pong": number}


# ---- what is right -------------------------------------------------------------------------------


@pytest.mark.parametrize("pieces", [1, 2, 5, 12])
def test_fragments_are_one_message(base, pieces):
    text = ping(17)
    cuts = [text[i * len(text) // pieces : (i + 1) * len(text) // pieces] for i in range(pieces)]
    with Peer(base) as peer:
        for i, part in enumerate(cuts):
            peer.send(frame(CONTINUATION if i else TEXT, part, final=i == pieces - 1))
        assert is_answered(peer, 17)
        peer.send(frame(TEXT, b"", final=False), frame(CONTINUATION, ping(3)))
        assert is_answered(peer, 3)


def test_control_frames_come_between_fragments(base):
    with Peer(base) as peer:
        peer.send(frame(TEXT, b'{"pi', final=False), frame(PING, b"are you there"), frame(PONG, b"unasked"))
        assert peer.receive() == (PONG, b"are you there")
        peer.send(frame(CONTINUATION, b'ng": 4}'))
        assert is_answered(peer, 4)


@pytest.mark.parametrize("data", [b"", b"x", bytes(range(125))])
def test_pings_are_answered(base, data):
    with Peer(base) as peer:
        peer.send(frame(PING, data))
        assert peer.receive() == (PONG, data)


def test_bytes_come_one_by_one(base):
    with Peer(base) as peer:
        for byte in frame(TEXT, ping(1), final=False) + frame(PING, b"z") + frame(CONTINUATION, b" "):
            peer.send(bytes([byte]))
        assert peer.receive() == (PONG, b"z")
        assert is_answered(peer, 1)


def test_many_frames_come_at_once(base):
    with Peer(base) as peer:
        peer.send(b"".join(frame(TEXT, ping(i)) for i in range(50)))
        assert all(is_answered(peer, i) for i in range(50))


def test_longest_message(base):
    text = ping(5)
    with Peer(base) as peer:
        peer.send(frame(TEXT, text + b" " * (4096 - len(text))))
        assert is_answered(peer, 5)
        peer.send(frame(TEXT, "{\"ping\": 6, \"κόσμε\": \"🦆\"}".encode()))
        assert is_answered(peer, 6)


@pytest.mark.parametrize("code", [None, 1000, 1001, 3000, 4999])
def test_a_close_is_answered(base, code):
    with Peer(base) as peer:
        peer.send(frame(CLOSE, b"" if code is None else struct.pack(">H", code) + b"bye"))
        assert peer.end() in (code, NORMAL)


# ---- what is wrong -------------------------------------------------------------------------------

LATIN = b"\xe9t\xe9"
SURROGATE = b"\xed\xa0\x80"
OVERLONG = b"\xc0\xaf"
BEYOND = b"\xf4\x90\x80\x80"

BROKEN = {
    "reserved bit 1": ([frame(TEXT, ping(1), reserved=4)], {PROTOCOL}),
    "reserved bit 2": ([frame(TEXT, ping(1), reserved=2)], {PROTOCOL}),
    "reserved bit 3": ([frame(TEXT, ping(1), reserved=1)], {PROTOCOL}),
    "no text": ([frame(BINARY, ping(1))], {UNACCEPTABLE}),
    **{f"opcode {code}": ([frame(code, b"x")], {PROTOCOL}) for code in (3, 7, 11, 15)},
    "a long ping": ([frame(PING, b"x" * 126)], {PROTOCOL, DROPPED}),
    "a ping in fragments": ([frame(PING, b"x", final=False), frame(CONTINUATION, b"y")], {PROTOCOL}),
    "a continuation of nothing": ([frame(CONTINUATION, ping(1))], {PROTOCOL}),
    "a message within a message": ([frame(TEXT, b'{"ping":', final=False), frame(TEXT, ping(1))], {PROTOCOL}),
    "too long": ([frame(TEXT, b" " * 4097)], {TOO_BIG, PROTOCOL}),
    "too long in sum": ([frame(TEXT, b" " * 4000, final=False), frame(CONTINUATION, b" " * 97)], {TOO_BIG, PROTOCOL}),
    "fragments without end": ([frame(TEXT, b"", final=False)] + [frame(CONTINUATION, b" " * 100, final=False)] * 60, {TOO_BIG, PROTOCOL}),
    "an incredible length": ([frame(TEXT, b" " * 5000, length=(1 << 62))], {TOO_BIG, PROTOCOL}),
    "a negative length": ([frame(TEXT, b" " * 5000, length=(1 << 63))], {TOO_BIG, PROTOCOL, DROPPED}),
    "latin": ([frame(TEXT, LATIN)], {BAD_TEXT}),
    "a surrogate": ([frame(TEXT, SURROGATE)], {BAD_TEXT}),
    "an overlong slash": ([frame(TEXT, OVERLONG)], {BAD_TEXT}),
    "beyond Unicode": ([frame(TEXT, BEYOND)], {BAD_TEXT}),
    "a character that is cut": ([frame(TEXT, b'{"ping": 1}\xf0\x9f')], {BAD_TEXT}),
    "latin in fragments": ([frame(TEXT, b"\xe9", final=False), frame(CONTINUATION, b"t")], {BAD_TEXT}),
    "half a code to close with": ([frame(CLOSE, b"\x03")], {PROTOCOL, DROPPED}),
    **{f"closed with {code}": ([frame(CLOSE, struct.pack(">H", code))], {PROTOCOL}) for code in (0, 999, 1004, 1005, 1006, 1016, 2999)},
    "latin as a reason": ([frame(CLOSE, struct.pack(">H", 1000) + LATIN)], {BAD_TEXT, PROTOCOL, DROPPED}),
}  # fmt: skip


@pytest.mark.parametrize("name", BROKEN)
def test_what_breaks_the_protocol_ends_it(base, name):
    frames, codes = BROKEN[name]
    with Peer(base) as other, Peer(base) as peer:
        peer.send(*frames)
        assert peer.end() in codes
        other.send(frame(TEXT, ping(9)))
        assert is_answered(other, 9)


# ---- the handshake -------------------------------------------------------------------------------

HANDSHAKE = {
    "Host": "x",
    "Upgrade": "websocket",
    "Connection": "Upgrade",
    "Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA==",
    "Sec-WebSocket-Version": "13",
}


@pytest.mark.parametrize(
    "changes",
    [{"Sec-WebSocket-Key": None}, {"Sec-WebSocket-Version": "12"}, {"Sec-WebSocket-Version": None}, {"Upgrade": "carrier-pigeon"}],
    ids=str,
)
def test_no_handshake_no_socket(base, changes):
    headers = "".join(f"{name}: {value}\r\n" for name, value in {**HANDSHAKE, **changes}.items() if value is not None)
    host, port = base.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), 60) as peer:
        peer.sendall(f"GET /api/cask/v1/live HTTP/1.1\r\n{headers}\r\n".encode())
        answer = b""
        with contextlib.suppress(ConnectionError):
            while part := peer.recv(65536):
                answer += part
                if b"\r\n\r\n" in answer:
                    break
    assert b" 101 " not in answer.split(b"\r\n")[0]
