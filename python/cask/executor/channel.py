"""Messages between a worker and an executor: framing, payloads, segments. docs/executor.md."""

from __future__ import annotations

import array
import fcntl
import mmap
import os
import select
import socket
import struct
import threading
from time import monotonic

from cask.executor.native import native

CHANNEL_FD = 3

START, HELLO, UPDATE, PUT, RUN, EXPORT, DROP, CANCEL, CALL, ANSWER, EXIT, FORK = range(1, 13)
READY, WELCOME, DONE, FAILED, RESCHEDULE, SECEDED, CANCELLED = range(33, 40)
EXPORTED, EXPORT_FAILED, REPLY, ASK, TELL, OUTPUT, FORKED = range(40, 47)

HEADER = struct.Struct("<IHHQ")
U32 = struct.Struct("<I")
_TWO_U32 = struct.Struct("<II")
_RUN_HEAD = struct.Struct("<II")
_FRAME = struct.Struct("<QQ")

BODY_MAX = 64 * 1024 * 1024
INLINE_MAX = 256 * 1024  # bytes of frames in a message; more go in a segment
INLINE = 2**64 - 1
_ALIGNMENT = 64
_READ_SIZE = 256 * 1024
_FDS_MAX = 16
_PARTS_AT_ONCE = 1024  # IOV_MAX
_HOLD_SECONDS = 0.001
_HOLD_MAX = 32 * 1024
_ANCILLARY = socket.CMSG_SPACE(_FDS_MAX * 4)
_SEALS = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE

NO_PAYLOAD = _TWO_U32.pack(0, 0)


class ChannelClosed(Exception):
    """The other side has gone."""


def pack_bytes(content: bytes) -> bytes:
    return U32.pack(len(content)) + content


def take_bytes(body, at: int) -> tuple[memoryview, int]:
    """`bytes` at `at` of a body, and where it ends."""
    (size,) = U32.unpack_from(body, at)
    at += 4
    return body[at : at + size], at + size


def take_run(body: memoryview) -> tuple:
    """A RUN: its flags, handles of inputs, key, annotations (msgpack), where its payload begins, and its spec: the pickle, or
    None, and then the body. The key may be msgpack still. Here it is, and the spec is in the body; the extension does more."""
    flags, count = _RUN_HEAD.unpack_from(body, 0)
    inputs = struct.unpack_from(f"<{count}Q", body, 8)
    key, at = take_bytes(body, 8 + 8 * count)
    annotations, at = take_bytes(body, at)
    return flags, inputs, bytes(key), bytes(annotations), at, None, memoryview(bytearray(body))


# ---- payloads ----


def _byte_view(frame) -> memoryview:
    view = memoryview(frame)
    return view.cast("B") if view.nbytes else memoryview(b"")  # cast refuses empty ones


def _offsets(views: list[memoryview]) -> tuple[list[int], int]:
    """Where each frame begins in a segment, and where the last one ends."""
    offsets = []
    at = 0
    for view in views:
        at = -(-at // _ALIGNMENT) * _ALIGNMENT
        offsets.append(at)
        at += view.nbytes
    return offsets, at


def _write_frames(fd: int, views: list[memoryview], offsets: list[int]) -> None:
    for view, at in zip(views, offsets, strict=True):
        done = 0
        while done < view.nbytes:
            done += os.pwrite(fd, view[done:] if done else view, at + done)


def _make_segment(views: list[memoryview], offsets: list[int]) -> int:
    """A sealed memfd with these frames."""
    fd = os.memfd_create("cask-segment", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    try:
        _write_frames(fd, views, offsets)
        fcntl.fcntl(fd, fcntl.F_ADD_SEALS, _SEALS)
    except BaseException:
        os.close(fd)
        raise
    return fd


def pack_payload(value: bytes, frames: list, lent: int | None = None) -> tuple[list, list[int]]:
    """Parts of a body for a value and its frames, and its descriptors, which the sender closes.

    Large frames go into the segment `lent` if they fit, else into a new one.
    """
    views = [_byte_view(frame) for frame in frames]
    if sum(view.nbytes for view in views) <= INLINE_MAX:
        table = b"".join(_FRAME.pack(view.nbytes, INLINE) for view in views)
        return [_TWO_U32.pack(len(value), len(views)), table, value, *views], []
    offsets, size = _offsets(views)
    if lent is not None and size <= os.fstat(lent).st_size:
        _write_frames(lent, views, offsets)
        fd = os.dup(lent)
    else:
        fd = _make_segment(views, offsets)
    table = b"".join(_FRAME.pack(view.nbytes, at) for view, at in zip(views, offsets, strict=True))
    return [_TWO_U32.pack(len(value), len(views)), table, value], [fd]


def take_payload(body: memoryview, at: int, fds: list[int]) -> tuple[bytes, list[memoryview]]:
    """The value and the frames of the payload at `at`; closes `fds`.

    Inline frames are views of `body`. Frames of a segment are a private, writable view of it: what
    is made of them may be written to, and nobody else sees that.
    """
    value_size, count = _TWO_U32.unpack_from(body, at)
    table = at + 8
    at = table + 16 * count
    value = bytes(body[at : at + value_size])
    at += value_size
    segment = None
    if fds:
        try:
            mapped = mmap.mmap(
                fds[0],
                os.fstat(fds[0]).st_size,
                flags=mmap.MAP_PRIVATE,
                prot=mmap.PROT_READ | mmap.PROT_WRITE,
            )
        finally:
            os.close(fds[0])
        segment = memoryview(mapped)
    frames = []
    for size, offset in _FRAME.iter_unpack(body[table : table + 16 * count]):
        if offset == INLINE:
            frames.append(body[at : at + size])
            at += size
        elif segment is None or offset + size > segment.nbytes:
            raise ValueError("a frame lies outside of its segment")
        else:
            frames.append(segment[offset : offset + size])
    return value, frames


# ---- the socket ----


def _frame(op: int, handle: int, parts: list[bytes]) -> bytes:
    """A message without descriptors."""
    return b"".join([HEADER.pack(sum(map(len, parts)), op, 0, handle), *parts])


if native is not None:
    _frame = native.frame


class Channel:
    """One end of the socket. Any thread may send; one thread reads."""

    def __init__(self, peer: socket.socket):
        self._peer = peer
        self._lock = threading.Lock()
        self._held: list = []  # messages, or parts of one, that are sent together
        self._held_size = 0
        self._held_since = 0.0
        self._may_hold = False

    def _send_rest(self, parts: list, fds: list[int]) -> None:
        """Send all parts; the descriptors go with the first byte."""
        views = [_byte_view(part) for part in parts]
        at = 0
        while at < len(views):
            if fds:
                rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))]
                sent = self._peer.sendmsg(views[at : at + _PARTS_AT_ONCE], rights)
                fds = []
            else:
                sent = self._peer.sendmsg(views[at : at + _PARTS_AT_ONCE])
            while at < len(views) and sent >= views[at].nbytes:
                sent -= views[at].nbytes
                at += 1
            if sent:
                views[at] = views[at][sent:]

    def _send(self, message: bytes) -> None:
        sent = self._peer.send(message)
        if sent < len(message):
            self._send_rest([memoryview(message)[sent:]], [])

    def _flush(self) -> None:
        held, self._held, self._held_size = self._held, [], 0
        self._send(b"".join(held))

    def may_hold(self, allowed: bool) -> None:
        """Whether hold() may hold back. Sends what it did so far."""
        try:
            with self._lock:
                self._may_hold = allowed
                if self._held:
                    self._flush()
        except OSError as error:
            raise ChannelClosed(str(error)) from error

    def hold(self, op: int, handle: int, parts: list[bytes]) -> None:
        """Send this later, with others: with the next message or may_hold() at the latest."""
        message = _frame(op, handle, parts)
        try:
            with self._lock:
                now = monotonic()
                if not self._held:
                    self._held_since = now
                self._held.append(message)
                self._held_size += len(message)
                if (
                    not self._may_hold
                    or now - self._held_since > _HOLD_SECONDS
                    or self._held_size > _HOLD_MAX
                ):
                    self._flush()
        except OSError as error:
            raise ChannelClosed(str(error)) from error

    def send(self, op: int, handle: int, parts: list, fds: list[int] | tuple = ()) -> None:
        """Send one message. Closes `fds`. Blocks while the other side does not read."""
        size = 0
        for part in parts:
            size += len(part)  # bytes and views of bytes
        try:
            if size > BODY_MAX:
                raise ValueError(f"a message of {size} bytes; {BODY_MAX} are the limit")
            parts = [HEADER.pack(size, op, len(fds), handle), *parts]
            with self._lock:
                if size < 65536 and not fds:
                    self._held += parts
                    self._flush()
                else:
                    if self._held:
                        self._flush()
                    self._send_rest(parts, list(fds))
        except OSError as error:
            raise ChannelClosed(str(error)) from error
        finally:
            for fd in fds:
                os.close(fd)


class Reader:
    """What comes in at a socket, cut into messages; the body of a RUN as take_run() gives it. One thread at a time uses it.

    The extension has one that does the same.
    """

    def __init__(self, peer: socket.socket):
        self._peer = peer
        self._poll = None
        self._buffer = memoryview(bytearray(2 * _READ_SIZE))
        self._start = self._end = 0  # what was received and not yet given out
        self._fds: list[int] = []  # of messages that are not there yet

    def messages(self):
        """Yield (op, handle, body, fds) of the messages that are there. The body is good until the next
        one is asked for; the descriptors are the receiver's."""
        buffer, end = self._buffer, self._end
        while end - self._start >= HEADER.size:
            size, op, fd_count, handle = HEADER.unpack_from(buffer, self._start)
            at = self._start + HEADER.size
            if end - at < size:
                return
            fds: list[int] | tuple = ()
            if fd_count:
                fds, self._fds = self._fds[:fd_count], self._fds[fd_count:]
            self._start = at + size
            body = buffer[at : at + size]
            yield op, handle, take_run(body) if op == RUN else body, fds

    def _make_room(self) -> None:
        start, end = self._start, self._end
        if start == end and len(self._buffer) == 2 * _READ_SIZE:
            self._start = self._end = 0
            return
        need = _READ_SIZE
        if end - start >= HEADER.size:
            need = max(need, HEADER.size + HEADER.unpack_from(self._buffer, start)[0])
        if len(self._buffer) - start < need or start == end:
            held = bytes(self._buffer[start:end])
            if need > len(self._buffer) or (len(self._buffer) > 2 * _READ_SIZE and need == _READ_SIZE):
                self._buffer = memoryview(bytearray(max(need, 2 * _READ_SIZE)))
            self._buffer[: len(held)] = held
            self._start, self._end = 0, len(held)

    def wait(self, wake: int) -> bool:
        """Until there is something to receive; False: the eventfd `wake` was written to, and is 0 again."""
        if self._poll is None:
            self._poll = select.poll()
            self._poll.register(wake, select.POLLIN)
            self._poll.register(self._peer.fileno(), select.POLLIN)
        ready = [fd for fd, _ in self._poll.poll()]
        if wake in ready:
            os.eventfd_read(wake)
        return wake not in ready

    def try_receive(self) -> int:
        """0: nothing is there; 1: more was received; 2: the other side has ended."""
        return 0  # the extension's business: here it would be one more system call for each message

    def rest(self) -> tuple[int, bytes, list[int]]:
        """The socket, and what was received and not given out."""
        return self._peer.fileno(), bytes(self._buffer[self._start : self._end]), self._fds

    def receive(self) -> bool:
        """Wait for more; False: the other side has ended."""
        self._make_room()
        try:
            got, controls, _flags, _ = self._peer.recvmsg_into(
                [self._buffer[self._end :]], _ANCILLARY, socket.MSG_CMSG_CLOEXEC
            )
        except OSError as error:
            raise ChannelClosed(str(error)) from error
        for level, kind, content in controls:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                received = array.array("i")
                received.frombytes(content[: len(content) - len(content) % 4])
                self._fds.extend(received)
        self._end += got
        return got > 0


def all_messages(reader):
    """All messages until the other side ends."""
    while True:
        yield from reader.messages()
        if not reader.receive():
            return


def go_on_reading(reader: Reader):
    """What reads on where `reader` stopped: the extension's, if it is there."""
    return reader if native is None else native.Reader(*reader.rest())
