"""Questions to the scheduler: its ordinary RPC operations, asked over the planner's channel.

A query may be waited for on any thread but the one that reads the channel.
"""

from __future__ import annotations

import asyncio
import itertools
import threading
from concurrent.futures import Future
from typing import Any

from distributed.core import clean_exception
from distributed.protocol.core import dumps, loads

from cask.planner.channel import Channel, ChannelClosed


class Queries:
    """Numbers the questions, and gives each answer to who asked."""

    def __init__(self, channel: Channel):
        self._channel = channel
        self._numbers = itertools.count(1)
        self._waiting: dict[int, Future] = {}
        self._lock = threading.Lock()
        self._closed = False

    def _ask(self, call: dict[str, Any]) -> Future:
        answer: Future = Future()
        number = next(self._numbers)
        frames = dumps({"op": "query", "id": number, "call": call})
        with self._lock:
            if self._closed:
                raise ChannelClosed("the scheduler closed the channel")
            self._waiting[number] = answer
        try:
            self._channel.write(frames)
        except ChannelClosed:
            with self._lock:
                self._waiting.pop(number, None)
            raise
        return answer

    def tell(self, op: str, **arguments) -> None:
        """Call an operation whose answer nobody needs."""
        self._channel.write(dumps({"op": "query", "id": None, "call": {"op": op, **arguments}}))

    def ask(self, op: str, **arguments) -> Any:
        """Call an operation and wait for what it gives; raises what it raises."""
        return self._ask({"op": op, **arguments}).result()

    async def ask_async(self, op: str, **arguments) -> Any:
        """As ask(), without blocking the event loop."""
        return await asyncio.wrap_future(self._ask({"op": op, **arguments}))

    def answered(self, frames: list) -> None:
        """An {"op": "answer"} has come. The reader's thread."""
        message = loads(frames, deserialize=False)
        with self._lock:
            answer = self._waiting.pop(message["id"], None)
        if answer is None or not answer.set_running_or_notify_cancel():
            return
        reply = message["reply"]
        if isinstance(reply, dict) and reply.get("status") == "uncaught-error":
            answer.set_exception(_exception_of(reply))
        else:
            answer.set_result(reply)

    def close(self) -> None:
        """The channel has gone: fail who still waits."""
        with self._lock:
            self._closed = True
            waiting, self._waiting = self._waiting, {}
        for answer in waiting.values():
            if answer.set_running_or_notify_cancel():
                answer.set_exception(ChannelClosed("the scheduler closed the channel"))


def _opened(value):
    """The bytes or text inside an error's field, which may travel serialised."""
    if hasattr(value, "header"):
        from distributed.protocol import deserialize

        return deserialize(value.header, value.frames)
    return value


def _exception_of(reply: dict) -> BaseException:
    try:
        _, exception, traceback = clean_exception(
            _opened(reply["exception"]), _opened(reply.get("traceback"))
        )
        return exception.with_traceback(traceback)
    except Exception:  # its class may not exist here
        return RuntimeError(reply.get("exception_text") or "the scheduler reported an error")
