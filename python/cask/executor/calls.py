"""CALL: operations for Python, answered as Server._handle_comm answers a request."""

from __future__ import annotations

import inspect
import logging

from distributed.core import _expects_comm, error_message
from distributed.protocol import dumps, loads

from cask.executor import channel
from cask.executor.channel import pack_payload, take_bytes, take_payload

logger = logging.getLogger("distributed.worker")


class _NoComm:
    """For handlers that take the connection as first argument and hardly look at it."""

    peer_address = "<worker>"


def take_call(body: memoryview, fds: list[int]) -> tuple[bool, str, list]:
    """Whether a reply is wanted, the operation, the frames of its message."""
    (flags,) = channel.U32.unpack_from(body, 0)
    op, at = take_bytes(body, 4)
    name = bytes(op).decode()
    value, frames = take_payload(body, at, fds)
    return not flags & 1, name, [value, *frames]


def _arguments_of(op: str, frames: list) -> dict:
    arguments = loads(frames)
    if not isinstance(arguments, dict):
        raise TypeError(f"the arguments of {op} are no map")
    return arguments


async def _answer(worker, op: str, frames: list, is_stream: bool) -> tuple:
    """The result, and the families of serialisation that the caller takes (None: Dask's own choice)."""
    handlers = worker.stream_handlers if is_stream and op in worker.stream_handlers else worker.handlers
    serializers = None
    try:
        handler = handlers[op]
        arguments = _arguments_of(op, frames)
        serializers = arguments.pop("serializers", None)
        if _expects_comm(handler):
            result = handler(_NoComm(), **arguments)
        else:
            result = handler(**arguments)
        if inspect.isawaitable(result):
            result = await result
        return result, serializers
    except Exception as error:
        logger.warning("%s failed", op, exc_info=True)
        return error_message(error, status="uncaught-error"), serializers


def _reply(out: channel.Channel, number: int, result, serializers=None) -> None:
    """What the caller's own families cannot serialise is a TypeError when it is read there, as with stock."""
    on_error = "raise" if serializers is None else "message"
    value, *frames = dumps(result, serializers=serializers, on_error=on_error)
    payload, fds = pack_payload(value, frames)
    out.send(channel.REPLY, number, payload, fds)


async def serve_call(worker, out: channel.Channel, number: int, call: tuple) -> None:
    """Run an operation and send its reply, if one is wanted."""
    wants_reply, op, frames = call
    result, serializers = await _answer(worker, op, frames, is_stream=not wants_reply)
    worker.tell_changes()
    if not wants_reply:
        return
    try:
        _reply(out, number, result, serializers)
    except channel.ChannelClosed:
        raise
    except Exception as error:  # it cannot be serialised, or is too large
        _reply(out, number, error_message(error, status="uncaught-error"))
