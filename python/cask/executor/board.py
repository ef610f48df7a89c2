"""The board: who runs what, in memory that the worker reads after any death. docs/executor.md."""

from __future__ import annotations

import mmap
import struct

from cask.executor.native import native

_HEAD = struct.Struct("<III")
_SLOT = struct.Struct("<QdQQ")
_HANDLE = struct.Struct("<Q")
_MAGIC = 0x6B736163
_SIZE = 64

SECEDED, ASYNCHRONOUS, EXPORTING = 1, 2, 4


class Board:
    """Slots for running tasks. More than there are slots run unseen."""

    def __init__(self, fd: int, slot_count: int):
        self._memory = mmap.mmap(fd, _SIZE * (1 + slot_count))
        _HEAD.pack_into(self._memory, 0, _MAGIC, 1, slot_count)
        self._free = list(range(_SIZE * slot_count, 0, -_SIZE))

    def close(self) -> None:
        self._memory.close()

    def enter(self, handle: int, start: float, thread: int, flags: int = 0) -> int:
        """A slot for this task; 0: none is free."""
        try:
            slot = self._free.pop()  # atomic
        except IndexError:
            return 0
        _SLOT.pack_into(self._memory, slot, handle, start, thread, flags)
        return slot

    def set_flags(self, slot: int, flags: int) -> None:
        if slot:
            _HANDLE.pack_into(self._memory, slot + 24, flags)

    def leave(self, slot: int) -> None:
        if slot:
            _HANDLE.pack_into(self._memory, slot, 0)
            self._free.append(slot)


if native is not None:
    Board = native.Board
