"""Messages read and written without distributed, whose import takes twice the time of everything that a
graph of `delayed` calls needs. What is out of the ordinary goes to distributed's own functions.

Source it must agree with: distributed/protocol/core.py ``dumps``, ``loads``; serialize.py ``pickle_loads``.
"""

from __future__ import annotations

import pickle
import threading
from pickle import PickleBuffer
from typing import Any

import msgpack

_importing = threading.Lock()
# A pickle that names one of these imports distributed, or something that does.
_BIG_MODULES = (b"distributed", b"dask.array", b"dask.bag", b"dask.dataframe", b"xarray")


# A longer one is not searched for names; the import is nothing to what else it takes.
_SEARCHED_BYTES = 16 << 20


def import_distributed() -> None:
    """Import distributed as a whole. It imports itself in circles, which only one thread at a time may do."""
    with _importing:
        import distributed  # noqa: F401


def flat_view(buffer) -> memoryview:
    """A buffer as contiguous bytes, without a copy if it is contiguous already."""
    view = memoryview(buffer)
    if not view.nbytes:
        return memoryview(b"")
    if not view.contiguous:
        return memoryview(bytes(view))
    return view if view.ndim == 1 and view.format == "B" else PickleBuffer(view).raw()


def _with_flag(view: memoryview, writeable: bool) -> memoryview:
    if writeable and view.readonly:
        return memoryview(bytearray(view))
    return view if writeable else view.toreadonly()


def _may_import_distributed(content) -> bool:
    if memoryview(content).nbytes > _SEARCHED_BYTES:
        return True
    searched = bytes(content)
    return any(name in searched for name in _BIG_MODULES)


class Envelope:
    """A value inside a message, with its header; opened when it is wanted."""

    def __init__(self, kind: str, header: dict, frames: list):
        self.kind = kind  # "__Serialized__" or "__Pickled__"
        self.header = header
        self.frames = frames

    def _is_plain(self) -> bool:
        header = self.header
        if any(header.get("compression") or ()):
            return False
        return self.kind == "__Pickled__" or (
            header.get("serializer") == "pickle"
            and "writeable" in header
            and "is-collection" not in header
            and "split-num-sub-frames" not in header
        )

    def _open_by_distributed(self) -> Any:
        import_distributed()
        from distributed.protocol.core import decompress
        from distributed.protocol.serialize import merge_and_deserialize

        frames = self.frames
        if "compression" in self.header:
            frames = decompress(self.header, frames)
        if self.kind == "__Pickled__":
            return pickle.loads(self.header["pickled-obj"], buffers=frames)
        return merge_and_deserialize(self.header, frames)

    def open(self) -> Any:
        """Unpickle what is inside: runs code of whoever sent it."""
        if not self._is_plain():
            return self._open_by_distributed()
        if self.kind == "__Pickled__":
            content, buffers = self.header["pickled-obj"], self.frames
        else:
            content, *buffers = self.frames
            buffers = [
                _with_flag(flat_view(buffer), writeable)
                for buffer, writeable in zip(buffers, self.header["writeable"])
            ]
        if _may_import_distributed(content):
            import_distributed()
        return pickle.loads(content, buffers=buffers)


def read(frames: list) -> dict:
    """A message whose values are plain or envelopes."""

    def envelope(value: dict):
        for kind in ("__Serialized__", "__Pickled__"):
            number = value.get(kind, 0)
            if number > 0:
                header = msgpack.unpackb(frames[number], use_list=False, strict_map_key=False)
                parts = frames[number + 1 : number + 1 + header["num-sub-frames"]]
                return Envelope(kind, header, list(parts))
        return value

    return msgpack.unpackb(
        frames[0], object_hook=envelope, use_list=False, strict_map_key=False
    )


def write(message: Any) -> list:
    """The frames of a message, as distributed's dumps."""
    try:
        return [msgpack.packb(message, use_bin_type=True)]
    except (TypeError, ValueError, OverflowError):  # a set, an object, something to pickle
        import_distributed()
        from distributed.protocol.core import dumps

        return dumps(message)
