"""Materialise requests: one thread each, up to a few at a time, while other requests go on."""

from __future__ import annotations

import logging
import time
from concurrent.futures import ThreadPoolExecutor

from cask.planner import plain
from cask.planner.channel import Channel, ChannelClosed
from cask.planner.flatten import AnnotationSets, FlatGraph
from cask.planner.materialise import collector_pause, materialise
from cask.planner.prewarm import Prewarm

logger = logging.getLogger("distributed.scheduler")

# What comes with a graph, pickled, and goes back as plain values.
ASKED = ("annotations", "code", "span_metadata")

# A short graph need not wait for a long one. More would only take turns on one interpreter.
GRAPHS_AT_ONCE = 4


def plain_error(error: BaseException) -> dict:
    """What a server answers when a handler raised; its pickles are plain bytes, as clients take."""
    plain.import_distributed()
    from distributed.core import error_message

    fields = error_message(error, status="uncaught-error")
    for name in ("exception", "traceback"):
        value = fields[name]
        if value is not None:
            fields[name] = value.data
    return fields


def _plain_annotations(annotations: dict) -> dict:
    """What of the global annotations has a value without a key."""
    return {name: value for name, value in annotations.items() if not callable(value)}


def opened(value):
    """A field that is absent, plain or pickled."""
    return value.open() if isinstance(value, plain.Envelope) else value


def _with_arrays(message: dict, arrays: list) -> list:
    """The frames of `message`, then `arrays`; its field arrays_at says where these begin."""
    head = plain.write({**message, "arrays_at": 1})
    if len(head) > 1:  # some value of the message has frames of its own
        head = plain.write({**message, "arrays_at": len(head)})
    return head + arrays


class GraphJobs:
    """Materialises graphs and streams them to the scheduler."""

    def __init__(self, channel: Channel, prewarm: Prewarm):
        self._channel = channel
        self._prewarm = prewarm
        self._threads = ThreadPoolExecutor(GRAPHS_AT_ONCE, thread_name_prefix="graph")

    def submit(self, number: int, frames: list) -> None:
        """Begin request `number`; everything about it happens on another thread."""
        self._prewarm.end()
        self._threads.submit(self._run, number, frames)

    def _run(self, number: int, frames: list) -> None:
        try:
            self._prewarm.wait()
            with collector_pause.held():
                try:
                    self._stream(number, frames)
                except ChannelClosed:
                    raise
                except BaseException as error:  # a request always gets an answer
                    logger.debug("Materialisation failed", exc_info=True)
                    reply = {"op": "graph", "id": number, "status": "error"}
                    self._channel.write(plain.write(reply | {"error": plain_error(error)}))
        except ChannelClosed:
            pass  # the reader ends the process

    def _stream(self, number: int, frames: list) -> None:
        start = time.perf_counter()
        message = plain.read(frames)
        frames.clear()
        expression = message.pop("expr_ser")
        asked = {name: opened(message.get(name)) for name in ASKED}
        for_all = asked["annotations"]
        result = materialise(expression)
        del expression
        annotations = AnnotationSets(result.annotations, for_all)
        graph = FlatGraph(result.tasks, annotations)
        cull = result.cull
        del result
        for fields, arrays in graph.parts():
            self._channel.write(
                _with_arrays({"op": "graph-part", "id": number, **fields}, arrays)
            )
        fields, arrays = graph.tail()
        end = {
            "op": "graph",
            "id": number,
            "status": "OK",
            "cull": cull,
            "seconds": time.perf_counter() - start,
            **fields,
        }
        if for_all is not None:
            end["annotations"] = _plain_annotations(for_all)
        if asked["code"] is not None:
            end["code"] = [list(block) for block in asked["code"]]
        if asked["span_metadata"] is not None:
            end["span_metadata"] = asked["span_metadata"]
        self._channel.write(_with_arrays(end, arrays))
