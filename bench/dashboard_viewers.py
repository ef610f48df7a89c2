"""Many viewers of a dashboard over WebSockets, which read and do nothing else.

    dashboard_viewers.py PORT COUNT HZ CHANNEL [CHANNEL ...]

Prints "ready" when all have subscribed; the end of stdin ends it. Then it prints one JSON object: frames and bytes that
came, and of the channel `stream` how old runs were when they came (seconds, sorted).
"""

from __future__ import annotations

import base64
import json
import os
import selectors
import socket
import struct
import sys
import time

STREAM = 4
STOP_COLUMNS = (4, 5)  # start, duration
LETTERS = "?dfIB?H"
SAME = 0x80


def masked(text: str) -> bytes:
    """A text message of a client's, shorter than 64 KiB."""
    mask, data = os.urandom(4), text.encode()
    size = bytes([0x80 | len(data)]) if len(data) < 126 else struct.pack(">BH", 0x80 | 126, len(data))
    return b"\x81" + size + mask + bytes(byte ^ mask[i % 4] for i, byte in enumerate(data))


class Viewer:
    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), 60)
        key = base64.b64encode(os.urandom(16)).decode()
        self.socket.sendall(
            f"GET /api/cask/v1/live HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        self.data = bytearray()
        while b"\r\n\r\n" not in self.data:
            part = self.socket.recv(4096)
            if not part:
                raise ConnectionError("the dashboard hung up")
            self.data += part
        head, _, self.data = self.data.partition(b"\r\n\r\n")
        if b" 101 " not in head.split(b"\r\n")[0]:
            raise ConnectionError(head.decode(errors="replace"))

    def frames(self) -> list[bytes]:
        """What came; the whole frames of it."""
        self.data += self.socket.recv(1 << 20)
        found = []
        while len(self.data) >= 2:
            size, at = self.data[1] & 127, 2
            if size == 126:
                size, at = (struct.unpack_from(">H", self.data, 2)[0] if len(self.data) >= 4 else 1 << 30), 4
            elif size == 127:
                size, at = (struct.unpack_from(">Q", self.data, 2)[0] if len(self.data) >= 10 else 1 << 30), 10
            if len(self.data) < at + size:
                break
            found.append(bytes(self.data[at : at + size]))
            del self.data[: at + size]
        return found


def stops(frame: bytes) -> list[float]:
    """When the runs of a frame ended; docs/observer.md draws it."""
    _, _, channel, _, _, rows, _, count = struct.unpack_from("<BBHIIIdI", frame)
    if channel != STREAM:
        return []
    columns, at = {}, 32 + 8 * count
    for i in range(count):
        kind, number, size = struct.unpack_from("<BxHI", frame, 32 + 8 * i)
        if number in STOP_COLUMNS:
            values = 1 if kind & SAME else rows
            columns[number] = struct.unpack_from(f"<{values}{LETTERS[kind & ~SAME]}", frame, at) * (rows // values if values else 1)
        at += -(-size // 8) * 8
    start, duration = (columns[number] for number in STOP_COLUMNS)
    return [a + b for a, b in zip(start, duration, strict=True)]


def main(port: int, count: int, hz: float, *channels: str) -> None:
    selector = selectors.DefaultSelector()
    for _ in range(count):
        viewer = Viewer(port)
        for i, channel in enumerate(channels, 1):
            viewer.socket.sendall(masked(json.dumps({"sub": channel, "id": i, "hz": hz})))
        selector.register(viewer.socket, selectors.EVENT_READ, viewer)
    selector.register(sys.stdin, selectors.EVENT_READ, None)
    print("ready", flush=True)
    frames = size = 0
    ages: list[float] = []
    begun = time.time()
    while True:
        for key, _ in selector.select():
            if key.data is None:
                print(json.dumps({"frames": frames, "bytes": size, "seconds": time.time() - begun, "ages": sorted(ages)}))
                return
            for frame in key.data.frames():
                frames += 1
                size += len(frame)
                if count == 1 and len(frame) >= 32:
                    now = time.time()
                    ages += [now - stop for stop in stops(frame) if stop > begun]


if __name__ == "__main__":
    main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), *sys.argv[4:])
