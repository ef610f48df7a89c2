"""Spans as distributed.spans.SpansSchedulerExtension shows them, read from the scheduler."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from distributed.scheduler import SourceCode

from cask.planner.snapshot import GroupView, Snapshot


class SpanView:
    """As distributed.spans.Span. Numbers are of the whole tree below it."""

    def __init__(self, snapshot: Snapshot, row: dict[str, Any], parent: SpanView | None):
        self._snapshot = snapshot
        self._row = row
        self.parent = parent
        self.children: list[SpanView] = []
        if parent is not None:
            parent.children.append(self)

    def __getattr__(self, field: str):
        if field.startswith("_") or field not in self._row:
            raise AttributeError(f"Span has no attribute {field!r}")
        return self._row[field]

    @property
    def groups(self) -> set[GroupView]:
        """Its own groups, as far as the scheduler still knows them."""
        rows = self._snapshot.rows("groups")
        return {GroupView(self._snapshot, n) for n, row in rows.items() if row["span_id"] == self.id}

    @property
    def annotation(self) -> dict[str, tuple[str, ...]] | None:
        if self.name == ("default",):
            return None
        ids = []
        span: SpanView | None = self
        while span is not None:
            ids.append(span.id)
            span = span.parent
        return {"name": self.name, "ids": tuple(reversed(ids))}

    @property
    def metadata(self) -> dict | None:
        """That of the first graph, with the collections of all."""
        graphs = self._row["metadata"]
        if not graphs:
            return None
        collections = [c for graph in graphs for c in graph.get("collections", ())]
        return {**graphs[0], "collections": collections}

    @property
    def code(self) -> list[tuple[SourceCode, ...]]:
        found = {
            tuple(SourceCode(*frame) for frame in frames): None
            for span in self.traverse_spans()
            for frames in span._row["code"]
        }
        return list(found)

    @property
    def all_durations(self) -> dict[str, float]:
        total: dict[str, float] = {}
        for group in self.traverse_groups():
            for action, seconds in group.all_durations.items():
                total[action] = total.get(action, 0) + seconds
        return total

    def traverse_spans(self) -> Iterator[SpanView]:
        yield self
        for child in self.children:
            yield from child.traverse_spans()

    def traverse_groups(self) -> Iterator[GroupView]:
        for span in self.traverse_spans():
            yield from span.groups

    def __repr__(self):
        return f"Span<name={self.name}, id={self.id}>"


class SpansView:
    """``dask_scheduler.extensions["spans"]``."""

    def __init__(self, snapshot: Snapshot):
        self._snapshot = snapshot

    @property
    def spans(self) -> dict[str, SpanView]:
        found: dict[str, SpanView] = {}
        for row in self._snapshot.whole("spans"):  # parents come first
            found[row["id"]] = SpanView(self._snapshot, row, found.get(row["parent_id"]))
        return found

    @property
    def root_spans(self) -> list[SpanView]:
        return [span for span in self.spans.values() if span.parent is None]

    @property
    def spans_search_by_name(self) -> dict[tuple[str, ...], list[SpanView]]:
        found: dict[tuple[str, ...], list[SpanView]] = {}
        for span in self.spans.values():
            found.setdefault(span.name, []).append(span)
        return found

    @property
    def spans_search_by_tag(self) -> dict[str, list[SpanView]]:
        found: dict[str, list[SpanView]] = {}
        for span in self.spans.values():
            for tag in span.name:
                found.setdefault(tag, []).append(span)
        return found

    def find_by_tags(self, *tags: str) -> Iterator[SpanView]:
        """Spans that have any of the tags; of a span and what is below it, only the upper."""
        found = [span for span in self.spans.values() if any(tag in span.name for tag in tags)]
        seen = {span.id for span in found}
        for span in sorted(found, key=lambda span: len(span.name)):
            if span.parent is None or span.parent.id not in seen:
                yield span
