"""Messages between the scheduler and the planner: Dask's framing over the socket at fd 3.

    8 bytes: bytes that follow | 8: number of frames | 8 each: length of a frame | the frames

Frame 0 is the msgpack message; distributed.protocol.core says how it points into the others.
"""

from __future__ import annotations

import socket
import struct
import threading

# The kernel takes at most this many parts in one call (IOV_MAX).
_PARTS_AT_ONCE = 1024


class ChannelClosed(Exception):
    """The scheduler has gone."""


def _bytes_of(frame) -> memoryview:
    view = memoryview(frame)
    return view.cast("B") if view.nbytes else memoryview(b"")  # cast refuses empty ones


class Channel:
    """One end of the socket. Any thread may write; one thread reads."""

    def __init__(self, peer: socket.socket):
        self._peer = peer
        self._write_lock = threading.Lock()

    def _send_parts(self, parts: list) -> None:
        at = 0
        while at < len(parts):
            sent = self._peer.sendmsg(parts[at : at + _PARTS_AT_ONCE])
            while sent:
                size = parts[at].nbytes
                if sent < size:
                    parts[at] = parts[at][sent:]
                    break
                sent -= size
                at += 1

    def write(self, frames: list) -> None:
        """Send one message. Blocks while the scheduler does not read. Any thread."""
        views = [_bytes_of(frame) for frame in frames]
        sizes = [view.nbytes for view in views]
        count = len(sizes)
        head = struct.pack(f"<{count + 2}Q", 8 + 8 * count + sum(sizes), count, *sizes)
        parts = [memoryview(head), *(view for view in views if view.nbytes)]
        try:
            with self._write_lock:
                self._send_parts(parts)
        except OSError as error:
            raise ChannelClosed(str(error)) from error

    def _receive(self, size: int) -> memoryview:
        content = memoryview(bytearray(size))
        at = 0
        while at < size:
            got = self._peer.recv_into(content[at:])
            if got == 0:
                raise ChannelClosed("the scheduler closed the channel")
            at += got
        return content

    def read(self) -> list[memoryview]:
        """The frames of the next message. ChannelClosed at its end."""
        try:
            (count,) = struct.unpack("<8xQ", self._receive(16))
            sizes = struct.unpack(f"<{count}Q", self._receive(8 * count))
            content = self._receive(sum(sizes))
        except OSError as error:
            raise ChannelClosed(str(error)) from error
        frames = []
        at = 0
        for size in sizes:
            frames.append(content[at : at + size])
            at += size
        return frames
