"""From a pickled expression to a dict of tasks, as stock's scheduler does it.

Source it must agree with: distributed/scheduler.py ``update_graph`` and ``_materialize_graph``.
"""

from __future__ import annotations

import gc
import sys
import textwrap
import threading
from contextlib import contextmanager
from typing import Any, NamedTuple

from dask._expr import LLGExpr
from dask._task_spec import DataNode, GraphNode, convert_legacy_graph
from dask.tokenize import tokenize

from cask.planner.plain import Envelope

UNREADABLE = textwrap.dedent(
    """\
        Error during deserialization of the task graph. This frequently
        occurs if the Scheduler and Client have different environments.
        For more information, see
        https://docs.dask.org/en/stable/deployment-considerations.html#consistent-software-environments
    """
)


class Materialised(NamedTuple):
    tasks: dict[Any, GraphNode]
    annotations: dict[str, dict]  # annotation -> key -> value
    cull: bool  # the scheduler keeps only what the wanted keys reach


class CollectorPause:
    """Keeps the garbage collector off while anyone builds a graph: it would walk the growing
    graph over and over, and find nothing."""

    def __init__(self):
        self._lock = threading.Lock()
        self._holders = 0

    @contextmanager
    def held(self):
        with self._lock:
            self._holders += 1
            gc.disable()
        try:
            yield
        finally:
            with self._lock:
                self._holders -= 1
                if self._holders == 0:
                    gc.enable()


collector_pause = CollectorPause()


def where_it_failed(error: BaseException) -> str:
    """What a user must install, and where, if an import failed in here; else nothing."""
    if isinstance(error, ModuleNotFoundError):
        return (
            f"Module {error.name!r} is missing in the scheduler's planner environment: "
            f"{sys.executable}\n"
        )
    if isinstance(error, (ImportError, AttributeError)):
        return (
            f"{error} (in the scheduler's planner environment: {sys.executable}, "
            f"Python {sys.version.split()[0]})\n"
        )
    return ""


def read_expression(expression: Envelope):
    """Unpickle what the client sent. RuntimeError, with the cause chained, if that fails."""
    try:
        return expression.open()
    except Exception as error:
        raise RuntimeError(UNREADABLE + where_it_failed(error)) from error


def _is_map(expr) -> bool:
    """`expr` is what `Client.map` sends; if distributed is not loaded it is something else."""
    map_type = getattr(sys.modules.get("distributed.client"), "_MapExpr", None)
    return map_type is not None and isinstance(expr, map_type)


def name_large_arguments(expr, graph: dict) -> dict:
    """Stock gives a large keyword argument of `Client.map` a task whose key is the keyword's bare name, so two
    maps with the same keyword share one. Here each map has its own."""
    keys = list(expr.keys)
    large = set(graph).difference(keys)
    if not large:
        return graph
    own = {key: f"{key}-{tokenize(keys[0])}" for key in large}
    renamed = {}
    for key, node in graph.items():
        if key in own:
            renamed[own[key]] = DataNode(own[key], node.value)
        else:
            renamed[key] = node.substitute(own)
    return renamed


def materialise(expression: Envelope) -> Materialised:
    """Unpickle, optimise, and lower to plain tasks; executes the client's code."""
    expr = read_expression(expression)
    if isinstance(expr, dict):
        # The client's recreate_error_locally sends a bare {} for dependencies it already has.
        return Materialised(convert_legacy_graph(expr), {}, True)
    try:
        graph = expr.__dask_graph__()
        if _is_map(expr):
            graph = name_large_arguments(expr, graph)
        annotations = {name: dict(of) for name, of in expr.__dask_annotations__().items()}
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(where_it_failed(error).rstrip(), name=error.name) from error
    return Materialised(convert_legacy_graph(graph), annotations, isinstance(expr, LLGExpr))
