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
from cask.planner.whole import whole_pickle

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


def _with_frames(message: dict, name: str, behind: list) -> list:
    """The frames of `message`, then those `behind`; its field `name` says where these begin."""
    head = plain.write({**message, name: 1})
    if len(head) > 1:  # some value of the message has frames of its own
        head = plain.write({**message, name: len(head)})
    return head + behind


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
        result = materialise(expression)
        del expression
        end = {"op": "graph", "id": number, "status": "OK", "cull": result.cull}
        annotations = AnnotationSets(result.annotations, asked["annotations"])
        # A low-level graph has come here because the reader in C does not know it.
        can_be_cut = not (message["as_arrays"] or result.cull or annotations)
        pickled = whole_pickle(result.tasks) if can_be_cut else None
        if pickled is not None:
            del result
            end |= self._about(asked, start)
            self._channel.write(_with_frames(end, "pickle_at", pickled))
            return
        graph = FlatGraph(result.tasks, annotations)
        del result
        for fields, arrays in graph.parts():
            part = {"op": "graph-part", "id": number, **fields}
            self._channel.write(_with_frames(part, "arrays_at", arrays))
        fields, arrays = graph.tail()
        end |= fields | self._about(asked, start)
        self._channel.write(_with_frames(end, "arrays_at", arrays))

    @staticmethod
    def _about(asked: dict, start: float) -> dict:
        """What else the scheduler is told of a graph: what came with it, as plain values, and how long it took."""
        fields: dict = {"seconds": time.perf_counter() - start}
        if asked["annotations"] is not None:
            fields["annotations"] = _plain_annotations(asked["annotations"])
        if asked["code"] is not None:
            fields["code"] = [list(block) for block in asked["code"]]
        if asked["span_metadata"] is not None:
            fields["span_metadata"] = asked["span_metadata"]
        return fields
