// The task stream: who ran what when, at any zoom. Live, the window ends now and moves; a touch of zoom or pan holds it.
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { count, duration } from "../base/format";
import { useKeys } from "../base/keys";
import { dark, prefixColor, GREY, type Rgb } from "../base/palette";
import { place as here, setQuery } from "../base/route";
import { prefixes } from "../data/prefixes";
import { groups, now, summary, useGroups, useWorkers, workers } from "../data/tables";
import { AXIS, GUTTER, StreamPainter, type Look, type Target } from "../draw/stream";
import { lanesOf, pan, Runs, zoom, type Span } from "../draw/timeline";
import { Choice, Copy, Empty, Problem, Swatch, TaskLink, WorkerLink, useSize } from "../parts/common";
import { get, useAnswer } from "../wire/api";
import { report } from "../wire/offline";
import { useFollowed, useWindow } from "../data/stream";
import { RunsGrid } from "./task";

interface Filter {
  prefix?: string;
  worker?: number;
}

function colorOf(group: number): Rgb {
  const row = groups.rows.get(group);
  return row === undefined ? GREY : prefixColor(row.prefix);
}

function lookAt(span: Span, height: number, filter: Filter): Omit<Look, "runs" | "strips" | "selected"> {
  const shown = workers.list().filter((worker) => (worker.removed === 0 || worker.removed > span.since) && (filter.worker === undefined || worker.id === filter.worker));
  return {
    span,
    lanes: lanesOf(shown, height - AXIS),
    color: colorOf,
    name: (group) => groups.rows.get(group)?.prefix ?? "",
    shown: (_worker, group) => filter.prefix === undefined || groups.rows.get(group)?.prefix === filter.prefix,
    dark: dark.value,
  };
}

function useSpan(seconds: number): [Span, boolean, (span: Span | undefined) => void] {
  const query = here.value.query;
  const since = Number(query.get("since"));
  const until = Number(query.get("until"));
  const held = since > 0 && until > since;
  const set = (span: Span | undefined) =>
    setQuery({ since: span && span.since.toFixed(6), until: span && span.until.toFixed(6) });
  const end = now.value || Date.now() / 1000;
  const kept = report();
  if (kept !== undefined && !held) {
    return [{ since: kept.since, until: kept.until }, false, set];
  }
  return [held ? { since, until } : { since: end - seconds, until: end }, !held, set];
}

function Tip({ runs, target, width }: { runs: Runs; target: Target; width: number }) {
  const index = target.index;
  const group = groups.rows.get(runs.group[index]);
  const worker = workers.rows.get(runs.worker[index]);
  return (
    <div class="tip" style={{ left: `${Math.min(target.left + 8, width - 230)}px`, top: `${target.top + 4}px` }}>
      <b>{group?.prefix ?? "?"}</b> {runs.failed[index] !== 0 && <span class="bad">✕ failed</span>}<br />
      {duration(runs.duration[index])}{runs.transfer[index] > 0 && ` after ${duration(runs.transfer[index])} of transfer`}<br />
      <span class="dim">{worker?.name} · thread {runs.lane[index]}</span>
    </div>
  );
}

// Of a run that was clicked: its key and all else, which the picture does not carry.
function Selected({ runs, index }: { runs: Runs; index: number }) {
  const start = runs.start[index];
  const around = { worker: runs.worker[index], since: start - 0.001, until: start + runs.duration[index] + 0.001, limit: 1000 };
  const { data, error } = useAnswer("runs", around);
  const found = data?.runs.find((run: { n: number }) => run.n === runs.n[index]);
  const worker = workers.rows.get(runs.worker[index]);
  if (found === undefined) {
    return <div class="selected-run"><Problem error={error} />{data && "This run is no longer remembered."}</div>;
  }
  return (
    <div class="selected-run" role="status">
      <TaskLink name={found.key} /> on {worker && <WorkerLink address={worker.address} name={worker.name} />}, took <b>{duration(found.duration)}</b>,
      transfer {duration(found.transfer)}, disk {duration(found.disk)}, deserialize {duration(found.deserialize)}{found.status !== "ok" && <b class="bad"> ✕ failed</b>}
      <Copy text={found.key} />
    </div>
  );
}

interface CanvasProps {
  span: Span;
  live: boolean;
  filter: Filter;
  hold(span: Span | undefined): void;
  selectable: boolean;
}

// Zooming, panning, choosing: the same for mouse and keyboard.
function useGestures(props: CanvasProps, height: number) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const painter = useRef<StreamPainter | undefined>(undefined);
  const [tip, setTip] = useState<Target | undefined>(undefined);
  const drag = useRef<{ x: number; span: Span; moved: boolean } | undefined>(undefined);
  const look = lookAt(props.span, height, props.filter);
  const latest = useRef({ look: look as Look, props });
  latest.current.props = props;
  useEffect(() => {
    const element = canvas.current;
    if (element === null || !props.selectable) {
      return undefined;
    }
    const wheel = (event: WheelEvent) => {
      event.preventDefault();
      const { look: seen, props: { span, hold } } = latest.current;
      const x = event.offsetX;
      const sideways = Math.abs(event.deltaX) > Math.abs(event.deltaY) || event.shiftKey;
      const width = span.until - span.since;
      const by = sideways ? event.deltaX || event.deltaY : event.deltaY;
      hold(sideways ? pan(span, (by / element.clientWidth) * width) : zoom(span, painter.current?.timeAt(seen, x) ?? span.until, Math.exp(by * 0.0015)));
    };
    // Preact's own handler would be passive.
    element.addEventListener("wheel", wheel, { passive: false });
    return () => element.removeEventListener("wheel", wheel);
  }, [props.selectable]);
  const handlers = {
    onPointerDown: (event: PointerEvent) => {
      drag.current = { x: event.clientX, span: props.span, moved: false };
      (event.currentTarget as Element).setPointerCapture(event.pointerId);
    },
    onPointerMove: (event: PointerEvent) => {
      const from = drag.current;
      const room = (canvas.current?.clientWidth ?? 0) - GUTTER;
      if (from !== undefined && (from.moved || Math.abs(event.clientX - from.x) > 3)) {
        from.moved = true;
        props.hold(pan(from.span, ((from.x - event.clientX) / room) * (from.span.until - from.span.since)));
      } else {
        setTip(painter.current?.find(latest.current.look, event.offsetX, event.offsetY));
      }
    },
    onPointerLeave: () => setTip(undefined),
  };
  return { canvas, painter, tip, drag, look, latest, handlers };
}

function Canvas(props: CanvasProps) {
  const { element, width, height } = useSize<HTMLDivElement>();
  const { canvas, painter, tip, drag, look, latest, handlers } = useGestures(props, height);
  const [chosen, setChosen] = useState<number | undefined>(undefined);
  const lanes = look.lanes.some((lane) => lane.thread >= 0) ? "thread" : "worker";
  const { runs, strips, error } = useWindow(props.span, props.live, lanes, Math.max(100, Math.floor((width - GUTTER) / 3)));
  const full: Look = { ...look, runs, strips, selected: chosen ?? -1 };
  // Other runs may have come since it was chosen: it is known by its number.
  const place = chosen === undefined || runs === undefined ? -1 : runs.n.indexOf(chosen);
  latest.current.look = full;
  useEffect(() => {
    const element = canvas.current; // by the next frame the page may have been left
    if (element === null || width === 0) {
      return undefined;
    }
    const frame = requestAnimationFrame(() => {
      painter.current ??= new StreamPainter(element);
      painter.current.resize(width, height);
      painter.current.draw(full);
    });
    return () => cancelAnimationFrame(frame);
  });
  const click = (event: PointerEvent) => {
    const moved = drag.current?.moved;
    drag.current = undefined;
    const target = moved ? undefined : painter.current?.find(full, event.offsetX, event.offsetY);
    if (!moved && props.selectable) {
      setChosen(target && runs && runs.n[target.index]);
      if (target !== undefined && props.live) {
        props.hold(props.span);
      }
    }
  };
  const shown = runs === undefined ? "as utilisation of each lane" : `${count(runs.size)} runs`;
  return (
    <>
      <div class="stream" ref={element}>
        <canvas ref={canvas} style={{ width: `${width}px`, height: `${height}px` }} role="img" tabIndex={props.selectable ? 0 : undefined}
          aria-label={`Task stream of ${look.lanes.length} lanes over ${duration(props.span.until - props.span.since)}, ${shown}`}
          onPointerUp={click} {...(props.selectable ? handlers : {})} />
        {tip !== undefined && runs !== undefined && tip.index < runs.size && <Tip runs={runs} target={tip} width={width} />}
        {look.lanes.length === 0 && <Empty>No worker was here then.</Empty>}
      </div>
      <Problem error={error} />
      {runs !== undefined && place >= 0 && place < runs.size && <Selected key={runs.n[place]} runs={runs} index={place} />}
    </>
  );
}

const MINI_SECONDS = 60;

export function MiniStream() {
  useGroups();
  useWorkers();
  const [span] = useSpan(MINI_SECONDS);
  const live = report() === undefined;
  const follow = useFollowed(span, live);
  return <div class="mini"><Canvas span={follow} live={live} filter={{}} hold={() => undefined} selectable={false} /></div>;
}

function Legend({ filter }: { filter: Filter }) {
  return (
    <ul class="legend prefixes" aria-label="Prefixes">
      {prefixes().filter((row) => row.runs > 0).slice(0, 12).map((row) => (
        <li key={row.prefix}>
          <button type="button" class="plain" aria-pressed={filter.prefix === row.prefix}
            onClick={() => setQuery({ prefix: filter.prefix === row.prefix ? undefined : row.prefix })}>
            <Swatch prefix={row.prefix} /> {row.prefix} <span class="dim">{duration(row.seconds)}</span>
          </button>
        </li>
      ))}
      <li><span class="box m-transfer" aria-hidden="true" /> transfer</li>
      <li><span class="box m-failed" aria-hidden="true">✕</span> failed</li>
    </ul>
  );
}

// As much as is remembered, so that one sees all of it.
async function fit(): Promise<Span | undefined> {
  const [oldest, newest] = await Promise.all([get("groups", { limit: 1000 }), get("runs", { limit: 1 })]);
  const starts = (oldest.groups as { start: number }[]).map((group) => group.start).filter((start) => start > 0);
  const last = newest.runs[0];
  if (starts.length === 0 || last === undefined) {
    return undefined;
  }
  const since = Math.min(...starts);
  const until = last.start + last.duration;
  const margin = Math.max((until - since) * 0.02, 0.001);
  return { since: since - margin, until: until + margin };
}

const LENGTHS = [["10", "10 s"], ["60", "1 min"], ["300", "5 min"], ["1800", "30 min"], ["10800", "3 h"]] as const;

export function Stream() {
  useGroups();
  useWorkers();
  const query = here.value.query;
  const seconds = Number(query.get("last")) || 60;
  const [asked, live, hold] = useSpan(seconds);
  const span = useFollowed(asked, live);
  const [table, setTable] = useState(false);
  const filter = useMemo<Filter>(
    () => ({ prefix: query.get("prefix") ?? undefined, worker: query.has("worker") ? Number(query.get("worker")) : undefined }),
    [query],
  );
  const width = span.until - span.since;
  const middle = (span.since + span.until) / 2;
  useKeys([
    { keys: "w", says: "zoom in", run: () => hold(zoom(span, middle, 0.6)) },
    { keys: "s", says: "zoom out", run: () => hold(zoom(span, middle, 1 / 0.6)) },
    { keys: "a", says: "earlier", run: () => hold(pan(span, -width / 5)) },
    { keys: "d", says: "later", run: () => hold(pan(span, width / 5)) },
    { keys: "f", says: "all of it", run: () => void fit().then(hold) },
    { keys: "space", says: "hold, or live again", run: () => hold(live ? span : undefined) },
  ]);
  const worker = filter.worker === undefined ? undefined : workers.rows.get(filter.worker);
  return (
    <>
      <div class="tools">
        <button type="button" aria-pressed={live} onClick={() => hold(live ? span : undefined)}>{live ? "● live" : "‖ held"}</button>
        <Choice label="last" value={String(seconds)} options={LENGTHS} onChange={(value) => setQuery({ last: value, since: undefined, until: undefined })} />
        <button type="button" onClick={() => void fit().then(hold)}>all of it</button>
        <span class="dim">{duration(width)}, {count(summary.value?.runs)} runs in all</span>
        {filter.prefix !== undefined && <button type="button" onClick={() => setQuery({ prefix: undefined })}>only {filter.prefix} ✕</button>}
        {worker !== undefined && <button type="button" onClick={() => setQuery({ worker: undefined })}>only {worker.name} ✕</button>}
        <button type="button" aria-pressed={table} onClick={() => setTable(!table)}>as a table</button>
      </div>
      <Legend filter={filter} />
      {table ? <RunsTable span={span} filter={filter} /> : <Canvas span={span} live={live} filter={filter} hold={hold} selectable />}
    </>
  );
}

function RunsTable({ span, filter }: { span: Span; filter: Filter }) {
  const [fixed] = useState(span);
  const { data, error } = useAnswer("runs", { since: fixed.since, until: fixed.until, prefix: filter.prefix, worker: filter.worker, limit: 1000 });
  return (
    <>
      <Problem error={error} />
      {data?.next && <p class="dim">The newest 1,000 of them.</p>}
      <RunsGrid runs={data?.runs ?? []} />
    </>
  );
}
