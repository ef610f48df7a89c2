"""The live objects of an executor, by handle and by key."""

from __future__ import annotations

import os
import threading
from collections.abc import Mapping, MutableMapping

import msgpack
from distributed.protocol import loads as loads_message
from distributed.protocol.core import (
    merge_and_deserialize,
    msgpack_decode_default,
    msgpack_encode_default,
    serialize_and_split,
)
from distributed.protocol.serialize import Serialize
from distributed.protocol.utils import msgpack_opts
from distributed.spill import SpilledSize

from cask.executor.channel import take_payload

SERIALIZED = msgpack.packb({"__Serialized__": 1})

_ABSENT = object()

PLAIN = frozenset({int, float, bool, str, type(None)})  # types of values that msgpack has the very same
_STR_MAX = 1 << 20

# Held while a value is opened, as that imports modules: packages whose modules import one another, Dask's among them,
# fail when threads begin with different ones. Stock opens in one thread as well.
opening = threading.RLock()


def open_value(value: bytes, frames: list):
    """The Python value of a payload."""
    if value == SERIALIZED:  # by far the most
        header = msgpack.unpackb(
            frames[0], object_hook=msgpack_decode_default, use_list=False, **msgpack_opts
        )
        if not any(header.get("compression", ())):
            return merge_and_deserialize(header, frames[1 : 1 + header["num-sub-frames"]])
    return loads_message([value, *frames])


def _families(value) -> tuple | None:
    """Dask's serialisation families to try; None: Dask's own choice, which is without msgpack.

    What msgpack has the very same goes without pickle, as a client may refuse that. Values are serialised
    once, for whoever asks, so who asks cannot decide it.
    """
    if type(value) not in PLAIN or (type(value) is str and len(value) > _STR_MAX):
        return None
    return ("dask", "msgpack", "pickle")  # pickle: for integers over 64 bits, text that is no UTF-8


def serialise(value) -> tuple[bytes, list]:
    """The payload of a Python value: what a Dask peer reads as Serialized."""
    try:
        header, frames = serialize_and_split(Serialize(value), _families(value), on_error="raise")
    except TypeError as error:  # stock's says what could not be serialised, its cause why
        if error.__cause__ is None:
            raise
        raise TypeError(f"{error.args[0]}: {error.__cause__}") from error.__cause__
    header["num-sub-frames"] = len(frames)
    packed = msgpack.packb(header, default=msgpack_encode_default, use_bin_type=True)
    return SERIALIZED, [packed, *frames]


class Entry:
    """One object: live, or serialised and opened when first needed."""

    __slots__ = ("_error", "_lock", "_payload", "_value", "is_actor", "key")

    def __init__(self, key, payload=None):
        self.key = key
        self.is_actor = False
        self._value = _ABSENT
        self._payload = payload  # (body, where the payload begins, descriptors)
        self._lock = None if payload is None else threading.Lock()

    def set(self, value) -> None:
        self._value = value

    def get(self):
        if self._value is _ABSENT:
            self._open()
        return self._value

    def __del__(self):
        if self._payload is not None:  # never opened
            for fd in self._payload[2]:
                os.close(fd)

    def is_live(self) -> bool:
        return self._value is not _ABSENT

    def _open(self) -> None:
        if self._lock is None:
            raise KeyError(self.key)
        with opening, self._lock:
            if self._payload is not None:
                payload, self._payload = self._payload, None  # its descriptors are used once
                try:
                    self._value = open_value(*take_payload(*payload))
                except Exception as error:
                    self._error = error
            if self._value is _ABSENT:
                raise self._error


class Objects:
    """Entries by handle; the newest of a key by key. The reader's thread adds and drops."""

    def __init__(self):
        self.by_handle: dict[int, Entry] = {}
        self.by_key: dict = {}

    def add(self, handle: int, entry: Entry) -> None:
        self.by_handle[handle] = entry
        self.by_key[entry.key] = entry

    def drop(self, handle: int) -> Entry | None:
        entry = self.by_handle.pop(handle, None)
        if entry is not None and self.by_key.get(entry.key) is entry:
            del self.by_key[entry.key]
        return entry


class DataView(MutableMapping):
    """``worker.data``: everything the worker holds, and what user code puts there.

    What user code sets stays in this executor: it is the worker's local storage that stock's users
    know, never sent anywhere. What lives elsewhere in the worker is asked for.
    """

    def __init__(self, objects: Objects):
        self._objects = objects
        self._own: dict = {}
        self.ask = None  # function(name, arguments), once the worker answers

    def look(self, name: str, arguments: list):
        """What the worker answers to a question about itself."""
        if self.ask is None:
            raise RuntimeError("the worker does not answer yet")
        return self.ask(name, arguments)

    def find_live(self, key) -> tuple | None:
        """(value,), if it is here and open."""
        entry = self._objects.by_key.get(key)
        return (entry.get(),) if entry is not None and entry.is_live() else None

    def __getitem__(self, key):
        if key in self._own:
            return self._own[key]
        entry = self._objects.by_key.get(key)
        if entry is not None and (entry.is_live() or entry._lock is not None):
            return entry.get()
        if self.ask is not None:
            found = self.ask("data_get", [key])
            if found is not None:
                return found[0]
        raise KeyError(key)

    @property
    def memory(self) -> dict:
        """What is live in this executor, as ``memory`` of stock's spill buffer: to be looked at for nothing"""
        live = {entry.key: entry.get() for entry in list(self._objects.by_key.values()) if entry.is_live() and not entry.is_actor}
        return {**live, **self._own}

    def __setitem__(self, key, value):
        self._own[key] = value

    def __delitem__(self, key):
        del self._own[key]

    def keys_in(self, *where: str) -> dict:
        """The keys of "disk", of "memory", or of both."""
        keys: dict = {}
        if "disk" not in where:
            keys.update(dict.fromkeys(self._own))
        if not where:
            keys.update(
                (key, None)
                for key, entry in list(self._objects.by_key.items())
                if entry.is_live() and not entry.is_actor
            )
        if self.ask is not None:
            keys.update(dict.fromkeys(self.ask("data_keys", list(where))))
        return keys

    def __contains__(self, key):
        if key in self._own:
            return True
        entry = self._objects.by_key.get(key)
        return (entry is not None and entry.is_live()) or key in self.keys_in()

    def __iter__(self):
        return iter(self.keys_in())

    def __len__(self):
        return len(self.keys_in())

    # What stock's mapping has that spills (distributed.spill.SpillBuffer). Without spilling all is in memory.

    @property
    def memory(self) -> Mapping:
        return DataPart(self, "memory")

    @property
    def disk(self) -> Mapping:
        return DataPart(self, "disk")

    fast, slow = memory, disk

    @property
    def spilled_total(self) -> SpilledSize:
        """Bytes on disk: as they were in memory, and as they are there."""
        return SpilledSize(*self.look("state", [])["spilled"])


class DataPart(Mapping):
    """What of ``worker.data`` is in memory, in whichever process of the worker, or on disk."""

    def __init__(self, data: DataView, where: str):
        self._data = data
        self._where = where

    def __getitem__(self, key):
        if key not in self:
            raise KeyError(key)
        return self._data[key]

    def __contains__(self, key):
        return key in self._data.keys_in(self._where)

    def __iter__(self):
        return iter(self._data.keys_in(self._where))

    def __len__(self):
        return len(self._data.keys_in(self._where))

    def __repr__(self):
        return f"<{len(self)} values of a cask worker, in {self._where}>"
