"""A graph as one pickle, which the scheduler's reader in C cuts into tasks as it does clients' graphs.

To pickle ten thousand tasks at once takes a quarter of the time that it takes one by one: what they share
is written once, and the rest of the work is done in C. What that reader might not know is left to the
arrays of flatten.py; if it still finds something, the scheduler asks again for these.
Must agree with: src/wire/pickle_graph.c.
"""

from __future__ import annotations

import pickle
from typing import Any

import cloudpickle
from dask._expr import LLGExpr
from dask._task_spec import Alias, DataNode, GraphNode, Task

# A larger graph goes part by part, so that the scheduler reads one while the next is made.
WHOLE_TASKS_MAX = 100_000

_KNOWN = {Task, DataNode}


def _is_known(key, node: GraphNode) -> bool:
    kind = type(node)
    return kind in _KNOWN or (kind is Alias and node.target != key)


def _pickled(expression: LLGExpr, buffers: list[pickle.PickleBuffer]) -> bytes:
    try:
        content = pickle.dumps(expression, 5, buffer_callback=buffers.append)
        if b"__main__" not in content:
            return content
    except Exception:  # a function without a name, most likely
        pass
    buffers.clear()
    return cloudpickle.dumps(expression, 5, buffer_callback=buffers.append)


def whole_pickle(tasks: dict[Any, GraphNode]) -> list | None:
    """The frames of a graph: its pickle and that one's buffers. None: it must go as arrays."""
    if len(tasks) > WHOLE_TASKS_MAX or cloudpickle.list_registry_pickle_by_value():
        return None
    if not all(_is_known(key, node) for key, node in tasks.items()):
        return None
    buffers: list[pickle.PickleBuffer] = []
    try:
        content = _pickled(LLGExpr(tasks, _determ_token="planner"), buffers)
    except Exception:  # which task it is, and why, is found when each is pickled on its own
        return None
    return [content, *(buffer.raw() for buffer in buffers)]
