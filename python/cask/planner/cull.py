"""Cull a high-level graph in linear time.

Stock's ``HighLevelGraph.cull`` hands the whole set of pending keys to each layer, and a layer that
has no better idea walks all of it: for ``delayed``, where each call is a layer of its own, that is
tasks squared (20,000 calls into one sum take over 100 s). Here a layer sees only the pending keys
that it can know. The layers that come out hold the same tasks, and the same keys stay pending.

Source it must agree with: dask/highlevelgraph.py ``HighLevelGraph.cull``, ``Layer.cull``;
dask/_task_spec.py ``cull``; dask/blockwise.py ``Blockwise.cull``.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Any

import dask
from dask._task_spec import GraphNode
from dask.base import flatten
from dask.blockwise import Blockwise
from dask.highlevelgraph import HighLevelGraph, Layer, MaterializedLayer
from dask.tokenize import tokenize


class PendingKeys:
    """The keys still wanted, findable by what they begin with."""

    def __init__(self, keys):
        self.keys = set()
        self._by_first: defaultdict[Any, set] = defaultdict(set)
        self.add(keys)

    def add(self, keys) -> None:
        for key in keys:
            if key not in self.keys:
                self.keys.add(key)
                if type(key) is tuple and key:
                    self._by_first[key[0]].add(key)

    def discard(self, key) -> None:
        if key in self.keys:
            self.keys.discard(key)
            if type(key) is tuple and key:
                self._by_first[key[0]].discard(key)

    def of_name(self, name) -> set:
        """The tuple keys (name, ...)."""
        return self._by_first.get(name) or set()

    def known_to(self, layer) -> list:
        """The keys that `layer` has, found by walking the smaller of the two."""
        if len(self.keys) < len(layer):
            return [key for key in self.keys if key in layer]
        return [key for key in layer if key in self.keys]


def _cull_mapping(layer: Layer, pending: PendingKeys) -> dict | None:
    """The tasks of a layer (no legacy ones) that the pending keys reach inside it; None: all."""
    if len(pending.keys) == len(layer):
        return None  # as dask._task_spec.cull does
    work = pending.known_to(layer)
    if len(work) == len(layer):
        return None
    out = {}
    while work:
        key = work.pop()
        if key in out or key not in layer:
            continue
        out[key] = node = layer[key]
        work.extend(node.dependencies)
    return None if len(out) == len(layer) else out


def _cull_plain(layer: Layer, pending: PendingKeys) -> tuple[Layer, dict]:
    """Layer.cull for a layer without legacy tasks."""
    tasks = _cull_mapping(layer, pending)
    if tasks is None:
        culled = layer if type(layer) is MaterializedLayer else MaterializedLayer(
            dict(layer), annotations=layer.annotations
        )
    else:
        culled = MaterializedLayer(tasks, annotations=layer.annotations)
    return culled, {key: node.dependencies for key, node in culled.items()}


def _cull_layer(layer: Layer, pending: PendingKeys, external_keys) -> tuple[Layer, dict]:
    cull = type(layer).cull
    if cull is Layer.cull:
        if not layer.has_legacy_tasks:
            return _cull_plain(layer, pending)
        if len(pending.keys) == len(layer):
            return layer.cull(pending.keys, external_keys)
        known = set(pending.known_to(layer))
        if len(known) == len(layer) and type(layer) is MaterializedLayer:
            dependencies = {key: layer.get_dependencies(key, external_keys) for key in layer}
            return layer, dependencies
        return layer.cull(known, external_keys)
    if cull is Blockwise.cull:
        return layer.cull(pending.of_name(layer.output), external_keys)
    return layer.cull(set(pending.keys), external_keys)


def _only_task(layer: Layer) -> tuple[Any, GraphNode] | None:
    """Key and task of a layer that is nothing but one task, as each `delayed` call makes one."""
    if type(layer) is MaterializedLayer and len(layer.mapping) == 1:
        ((key, node),) = layer.mapping.items()
        if isinstance(node, GraphNode):
            return key, node
    return None


def _has_legacy_tasks(layer: Layer) -> bool:
    return _only_task(layer) is None and layer.has_legacy_tasks


def cull(graph: HighLevelGraph, keys) -> HighLevelGraph:
    """The part of `graph` that `keys` (nested lists allowed) need, as HighLevelGraph.cull."""
    wanted = set(flatten(keys))
    external_keys: Any = set()
    if any(map(_has_legacy_tasks, graph.layers.values())):
        external_keys = graph.get_all_external_keys()

    layers: dict = {}
    dependencies: dict = {}
    token = tokenize(wanted)
    pending = PendingKeys(wanted)
    for name in reversed(graph._toposort_layers()):
        layer = graph.layers[name]
        only = _only_task(layer) if pending.keys else None
        if only:
            key, node = only
            # A layer of as many tasks as keys are pending stays whole, as in dask._task_spec.cull.
            if key not in pending.keys and len(pending.keys) > 1:
                continue
            pending.add(node.dependencies)
            pending.discard(key)
        elif pending.keys:
            layer, culled = _cull_layer(layer, pending, external_keys)
            if not culled:
                continue
            for key, needed in culled.items():
                pending.add(needed)
                pending.discard(key)
        layers[f"{name}-{token}"] = layer
        dependencies[f"{name}-{token}"] = graph.dependencies[name]
    kept = layers.keys()
    return HighLevelGraph(
        layers, {name: set(needed) & kept for name, needed in dependencies.items()}
    )


def install() -> None:
    """Make this the cull of every graph in this process. Ambient annotations would be given to
    rebuilt layers, so with any set (nobody does, here) stock's own runs."""
    stock = HighLevelGraph.cull

    def linear_or_stock(self, keys):
        return stock(self, keys) if dask.get_annotations() else cull(self, keys)

    HighLevelGraph.cull = linear_or_stock
