// The task stream: who ran what when, at any zoom. Live, the window ends now and moves; a touch of zoom or pan holds it.
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { count, duration, plural, shortKey } from "../base/format";
import { useKeys } from "../base/keys";
import { ALARM, css, dark, prefixColor, GREY, type Rgb } from "../base/palette";
import { place as here, range, setQuery, setRange } from "../base/route";
import { history } from "../data/history";
import { prefixes } from "../data/prefixes";
import { groups, now, summary, useGroups, useWorkers, workers, type WorkerRow } from "../data/tables";
import { neighbour, says, type Facts, type Gap } from "../draw/gaps";
import { AXIS, GUTTER, StreamPainter, type Arrow, type Look, type Target } from "../draw/stream";
import { WORKER_LEAST, hostOf, lanesOf, pan, Runs, zoom, type Lane, type Span } from "../draw/timeline";
import { Choice, Copy, Empty, Go, Problem, Swatch, TaskLink, WorkerLink, useSize } from "../parts/common";
import { get, useAnswer } from "../wire/api";
import { keptName } from "../wire/base";
import { report } from "../wire/offline";
import { useFollowed, useWindow } from "../data/stream";
import { RunsGrid } from "./task";

type By = "prefix" | "action" | "state";
const BYS: readonly (readonly [By, string])[] = [["prefix", "by prefix"], ["action", "by action"], ["state", "by state"]];

interface Filter {
  open?: ReadonlySet<string>; // hosts
  prefix?: string;
  worker?: number;
  by: By;
}

const COMPUTING: Rgb = [0, 114, 178];
const GOOD: Rgb = [0, 158, 115];

// Of actions and states the others have patterns and outlines: what computes, or is fine, needs one colour.
function colorsBy(by: By): (group: number, failed: boolean) => Rgb {
  if (by !== "prefix") {
    return (_, failed) => (by === "action" ? COMPUTING : failed ? ALARM : GOOD);
  }
  return (group) => {
    const row = groups.rows.get(group);
    return row === undefined ? GREY : prefixColor(row.prefix);
  };
}

// A report has no strips of hosts: there each worker stands for itself.
const hostFor = (worker: WorkerRow): string => (report() === undefined ? hostOf(worker.address) : worker.name);

function lookAt(span: Span, height: number, filter: Filter): Omit<Look, "runs" | "strips" | "selected"> {
  const shown = workers.list().filter((worker) => (worker.removed === 0 || worker.removed > span.since) && (filter.worker === undefined || worker.id === filter.worker));
  return {
    span,
    lanes: lanesOf(shown.map((worker) => ({ ...worker, host: hostFor(worker) })), height - AXIS, filter.open),
    color: colorsBy(filter.by),
    colorOf: (prefix) => (filter.by === "prefix" ? prefixColor(prefix) : filter.by === "action" ? COMPUTING : GOOD),
    filter: filter.prefix,
    marked: range.value,
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

function GapTip({ gap, facts, left, top }: { gap: Gap; facts?: Facts; left: number; top: number }) {
  return <div class="tip" style={{ left: `${left}px`, top: `${top}px` }}><b>nothing ran</b><br />{says(gap, facts)}</div>;
}

const INPUTS_SHOWN = 8;

// What it was made of, as long as the scheduler knows; a link shows when that ran.
function Inputs({ name, found }: { name: string; found(arrows: readonly Arrow[]): void }) {
  const { data } = useAnswer("why", { key: name });
  const inputs: { key: string }[] = data?.inputs ?? [];
  useEffect(() => {
    const stop = new AbortController();
    const places = inputs.slice(0, INPUTS_SHOWN).map(({ key }) => get("task", { key }, stop.signal).then(({ runs: [run] }) => run, () => undefined)); // gone: no arrow
    void Promise.all(places).then((runs) => stop.signal.aborted
      || found(runs.filter((run) => run !== undefined).map((run) => ({ worker: run.worker, lane: run.lane, until: run.start + run.duration }))));
    return () => {
      stop.abort();
      found([]);
    };
  }, [data]);
  if (inputs.length === 0) {
    return null;
  }
  return (
    <p class="keys-of">
      made of {inputs.slice(0, INPUTS_SHOWN).map(({ key }) => <Go key={key} class="key" href={`tasks?key=${encodeURIComponent(key)}`} title={key}>{shortKey(key)}</Go>)}
      {data.inputs_total > INPUTS_SHOWN && <span class="dim">and {count(data.inputs_total - INPUTS_SHOWN)} more</span>}
    </p>
  );
}

// Of a run that was clicked: its key and all else, which the picture does not carry.
function Selected({ runs, index, inputs }: { runs: Runs; index: number; inputs(arrows: readonly Arrow[]): void }) {
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
      {report() === undefined && keptName() === undefined && <Inputs name={found.key} found={inputs} />}
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
  marking?: boolean; // what is dragged over becomes the range
  marked?(): void;
  facts?: Facts;
  find?: string; // a key: its last run is chosen
  glance?: boolean; // a small picture: coarser, and asked for less often
}

const STREAM_HZ = 5;
const GLANCE_HZ = 2;
const LANES_HZ = 0.5;
const BUCKET_PIXELS = 3;
const GLANCE_BUCKET_PIXELS = 8;

// Zooming, panning, choosing: the same for mouse and keyboard.
function useGestures(props: CanvasProps, height: number) {
  const canvas = useRef<HTMLCanvasElement>(null);
  const painter = useRef<StreamPainter | undefined>(undefined);
  const [tip, setTip] = useState<Target | undefined>(undefined);
  const [gap, setGap] = useState<{ gap: Gap; left: number; top: number } | undefined>(undefined);
  const drag = useRef<{ x: number; span: Span; moved: boolean; marks: boolean } | undefined>(undefined);
  const look = { ...lookAt(props.span, height, props.filter), facts: props.facts };
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
      drag.current = { x: event.clientX, span: props.span, moved: false, marks: props.marking === true || event.shiftKey };
      (event.currentTarget as Element).setPointerCapture(event.pointerId);
    },
    onPointerMove: (event: PointerEvent) => {
      const from = drag.current;
      const room = (canvas.current?.clientWidth ?? 0) - GUTTER;
      if (from !== undefined && (from.moved || Math.abs(event.clientX - from.x) > 3)) {
        from.moved = true;
        if (from.marks) {
          const left = event.currentTarget instanceof Element ? event.currentTarget.getBoundingClientRect().left : 0;
          const times = [from.x, event.clientX].map((x) => painter.current?.timeAt(latest.current.look, Math.max(x - left, GUTTER)) ?? 0);
          setRange({ since: Math.min(...times), until: Math.max(...times) });
          return;
        }
        props.hold(pan(from.span, ((from.x - event.clientX) / room) * (from.span.until - from.span.since)));
      } else {
        const run = painter.current?.find(latest.current.look, event.offsetX, event.offsetY);
        const idle = run === undefined ? painter.current?.gapAt(latest.current.look, event.offsetX, event.offsetY) : undefined;
        setTip(run);
        setGap(idle && { gap: idle, left: Math.min(event.offsetX + 10, (canvas.current?.clientWidth ?? 0) - 230), top: event.offsetY + 14 });
      }
    },
    onPointerLeave: () => {
      setTip(undefined);
      setGap(undefined);
    },
  };
  return { canvas, painter, tip, gap, drag, look, latest, handlers };
}

// The last run of a key, in the middle of a window that shows what was around it.
function useFound(key: string | undefined, hold: CanvasProps["hold"], choose: (n: number) => void): void {
  useEffect(() => {
    const stop = new AbortController();
    if (key !== undefined) {
      get("task", { key }, stop.signal).then(
        ({ runs: [run] }) => {
          if (run !== undefined) {
            const around = Math.max(4 * (run.duration + run.transfer), 0.001);
            hold({ since: run.start - around, until: run.start + run.duration + around });
            choose(run.n);
          }
        },
        () => undefined, // whoever asked sees that nothing was found
      );
    }
    return () => stop.abort();
  }, [key]);
}

// From the chosen run to the one before and after it in its lane.
function useSteps(on: boolean, runs: Runs | undefined, chosen: number | undefined, span: Span, choose: (n: number) => void, hold: CanvasProps["hold"]): void {
  const step = (by: number) => {
    const from = runs === undefined || chosen === undefined ? -1 : runs.n.indexOf(chosen);
    if (runs === undefined || from < 0 || from >= runs.size) {
      return;
    }
    const next = neighbour(runs, from, by);
    if (next === undefined) {
      hold(pan(span, (by * (span.until - span.since)) / 2)); // it may be beyond what is seen
    } else {
      choose(runs.n[next]);
      const middle = runs.start[next] + runs.duration[next] / 2;
      hold(middle < span.since || middle > span.until ? pan(span, middle - (span.since + span.until) / 2) : span);
    }
  };
  useKeys(on ? [
    { keys: "]", says: "next run in the lane", run: () => step(1) },
    { keys: "[", says: "run before in the lane", run: () => step(-1) },
  ] : []);
}

// Whether the window has data, and nothing is in it.
function isEmpty({ runs, strips, span }: Look): boolean {
  if (runs === undefined) {
    return strips !== undefined && strips.lanes.every((lane) => lane.runs.every((value) => value === 0));
  }
  for (let index = 0; index < runs.size; index++) {
    if (runs.start[index] <= span.until && runs.start[index] + runs.duration[index] >= span.since) {
      return false;
    }
  }
  return true;
}

function toggle(open: ReadonlySet<string> | undefined, host: string): void {
  const next = new Set(open);
  if (!next.delete(host)) {
    next.add(host);
  }
  setQuery({ hosts: [...next].join(",") || undefined });
}

// What a click at a host's lane does, for the keyboard.
function Hosts({ lanes, open }: { lanes: readonly Lane[]; open: ReadonlySet<string> | undefined }) {
  const hosts = lanes.filter((lane) => lane.kind === "host").map((lane) => lane.host);
  const options = hosts.map((host): [string, string] => [host, `${open?.has(host) ? "close" : "open"} ${host}`]);
  return (
    <div class="tools below">
      <Choice label="host" value="" options={[["", plural(hosts.length, "host")], ...options]} onChange={(host) => host !== "" && toggle(open, host)} />
      {(open?.size ?? 0) > 0 && <button type="button" onClick={() => setQuery({ hosts: undefined })}>close all</button>}
      <span class="dim">A lane is all workers of a host; click it for the workers, and the name of one for its threads.</span>
    </div>
  );
}

function Canvas(props: CanvasProps) {
  const { element, width, height: room } = useSize<HTMLDivElement>();
  const { canvas, painter, tip, gap, drag, look, latest, handlers } = useGestures(props, room);
  // Lanes that do not fit are scrolled to.
  const height = props.selectable ? Math.max(room, AXIS + look.lanes.length * WORKER_LEAST) : room;
  const [chosen, setChosen] = useState<number | undefined>(undefined);
  const [arrows, setArrows] = useState<readonly Arrow[]>([]);
  useFound(props.find, props.hold, setChosen);
  const lanes = look.lanes[0]?.kind ?? "worker";
  const open = [...(props.filter.open ?? [])].filter((host) => look.lanes.some((lane) => lane.host === host));
  const buckets = Math.max(100, Math.floor((width - GUTTER) / (props.glance ? GLANCE_BUCKET_PIXELS : BUCKET_PIXELS)));
  const { runs, strips, error } = useWindow(props.span, props.live, { lanes, open, many: (host) => look.lanes.filter((lane) => lane.host === host).length, buckets, hz: props.glance ? GLANCE_HZ : STREAM_HZ });
  const full: Look = { ...look, runs, strips, selected: chosen ?? -1, arrows };
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
  useSteps(props.selectable, runs, chosen, props.span, setChosen, props.hold);
  const click = (event: PointerEvent) => {
    const { moved, marks } = drag.current ?? {};
    drag.current = undefined;
    if (moved && marks) {
      props.hold(props.span);
      props.marked?.();
    }
    const target = moved ? undefined : painter.current?.find(full, event.offsetX, event.offsetY);
    const lane = moved || target !== undefined || !props.selectable ? undefined : painter.current?.laneAt(full, event.offsetY);
    if (lane?.kind === "host") {
      toggle(props.filter.open, lane.host);
    } else if (lane?.kind === "worker" && event.offsetX < GUTTER) {
      setQuery({ worker: String(lane.worker) });
    } else if (!moved && props.selectable) {
      setChosen(target && runs && runs.n[target.index]);
      if (target !== undefined && props.live) {
        props.hold(props.span);
      }
    }
  };
  const shown = runs === undefined ? "as utilisation of each lane" : `${count(runs.size)} runs`;
  return (
    <>
      <div class={height > room ? "stream long" : "stream"} ref={element}>
        <canvas ref={canvas} style={{ width: `${width}px`, height: `${height}px` }} role="img" tabIndex={props.selectable ? 0 : undefined}
          aria-label={`Task stream of ${look.lanes.length} lanes, one a ${lanes}, over ${duration(props.span.until - props.span.since)}, ${shown}`}
          onPointerUp={click} {...(props.selectable ? handlers : {})} />
        {tip !== undefined && runs !== undefined && tip.index < runs.size && <Tip runs={runs} target={tip} width={width} />}
        {gap !== undefined && tip === undefined && <GapTip gap={gap.gap} facts={props.facts} left={gap.left} top={gap.top} />}
        {look.lanes.length === 0 && <Empty>No worker was here then.</Empty>}
        {look.lanes.length > 0 && isEmpty(full) && <p class="nothing">No task ended in this time.</p>}
      </div>
      <Problem error={error} />
      {lanes === "host" && props.selectable && <Hosts lanes={look.lanes} open={props.filter.open} />}
      {runs !== undefined && place >= 0 && place < runs.size && <Selected key={runs.n[place]} runs={runs} index={place} inputs={setArrows} />}
    </>
  );
}

const MINI_SECONDS = 60;
const PLAIN: Filter = { by: "prefix" };

export function MiniStream() {
  useGroups();
  useWorkers(LANES_HZ);
  const [span] = useSpan(MINI_SECONDS);
  const live = report() === undefined;
  const follow = useFollowed(span, live);
  return <div class="mini"><Canvas span={follow} live={live} filter={PLAIN} hold={() => undefined} selectable={false} glance /></div>;
}

function Legend({ filter }: { filter: Filter }) {
  return (
    <ul class="legend prefixes" aria-label="Prefixes">
      {filter.by !== "prefix" && <li><span class="box" style={{ background: css(filter.by === "action" ? COMPUTING : GOOD) }} aria-hidden="true" /> {filter.by === "action" ? "computing" : "done"}</li>}
      {filter.by === "prefix" && prefixes().filter((row) => row.runs > 0).slice(0, 12).map((row) => (
        <li key={row.prefix}>
          <button type="button" class="plain" aria-pressed={filter.prefix === row.prefix}
            onClick={() => setQuery({ prefix: filter.prefix === row.prefix ? undefined : row.prefix })}>
            <Swatch prefix={row.prefix} /> {row.prefix} <span class="dim">{duration(row.seconds)}</span>
          </button>
        </li>
      ))}
      <li><span class="box m-transfer" aria-hidden="true" /> transfer</li>
      <li><span class="box m-other" aria-hidden="true" /> unpickling, disk</li>
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

// What the lanes' idle times are explained by: live from what is here anyway, else asked for once a window.
function useFacts(span: Span, live: boolean): Facts {
  const end = now.value;
  const step = Math.min(600, Math.max(1, Math.ceil((end - span.since) / 600)));
  const { data } = useAnswer(live ? undefined : "series", { since: Math.floor(span.since) - step, step });
  const statuses = useAnswer("statuses", { limit: 1000 }, 5).data?.statuses ?? [];
  const { time, values } = history.value;
  const threads = summary.value?.threads ?? 0;
  return live ? { time, processing: values.processing, queued: values.queued, threads, statuses }
    : { time: data?.time ?? [], processing: data?.processing ?? [], queued: data?.queued ?? [], threads, statuses };
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
    () => ({
      prefix: query.get("prefix") ?? undefined,
      worker: query.has("worker") ? Number(query.get("worker")) : undefined,
      open: new Set(query.get("hosts")?.split(",") ?? []),
      by: BYS.find(([by]) => by === query.get("colour"))?.[0] ?? "prefix",
    }),
    [query],
  );
  const [marking, setMarking] = useState(false);
  const [wanted, setWanted] = useState("");
  const facts = useFacts(asked, live);
  const paintBy = (by: By) => setQuery({ colour: by === "prefix" ? undefined : by });
  const width = span.until - span.since;
  const middle = (span.since + span.until) / 2;
  useKeys([
    { keys: "w", says: "zoom in", run: () => hold(zoom(span, middle, 0.6)) },
    { keys: "s", says: "zoom out", run: () => hold(zoom(span, middle, 1 / 0.6)) },
    { keys: "a", says: "earlier", run: () => hold(pan(span, -width / 5)) },
    { keys: "d", says: "later", run: () => hold(pan(span, width / 5)) },
    { keys: "f", says: "all of it", run: () => void fit().then(hold) },
    { keys: "m", says: "what is seen is the range of all pages, or no longer", run: () => setRange(range.value === undefined ? span : undefined) },
    { keys: "c", says: "colour by prefix, action, state", run: () => paintBy(BYS[(BYS.findIndex(([by]) => by === filter.by) + 1) % BYS.length][0]) },
    { keys: "space", says: "hold, or live again", run: () => hold(live ? span : undefined) },
  ]);
  const worker = filter.worker === undefined ? undefined : workers.rows.get(filter.worker);
  return (
    <>
      <div class="tools">
        <button type="button" aria-pressed={live} onClick={() => hold(live ? span : undefined)}>{live ? "● live" : "‖ held"}</button>
        <Choice label="last" value={String(seconds)} options={LENGTHS} onChange={(value) => setQuery({ last: value, since: undefined, until: undefined })} />
        <button type="button" onClick={() => void fit().then(hold)}>all of it</button>
        <Choice label="colour" value={filter.by} options={BYS} onChange={paintBy} />
        <button type="button" aria-pressed={marking} onClick={() => setMarking(!marking)} title="drag over a range: all pages keep to it (also: Shift and drag, or m)">choose a range</button>
        <form onSubmit={(event) => { event.preventDefault(); setQuery({ key: wanted.trim() || undefined }); }}>
          <label>find key <input value={wanted} onInput={(event) => setWanted(event.currentTarget.value)} spellcheck={false} autoComplete="off" /></label>
        </form>
        <span class="dim">{duration(width)}, {count(summary.value?.runs)} runs in all</span>
        {filter.prefix !== undefined && <button type="button" onClick={() => setQuery({ prefix: undefined })}>only {filter.prefix} ✕</button>}
        {worker !== undefined && <button type="button" onClick={() => setQuery({ worker: undefined })}>only {worker.name} ✕</button>}
        <button type="button" aria-pressed={table} onClick={() => setTable(!table)}>as a table</button>
      </div>
      <Legend filter={filter} />
      {table ? <RunsTable span={span} filter={filter} /> : <Canvas span={span} live={live} filter={filter} hold={hold} selectable marking={marking} marked={() => setMarking(false)} facts={facts} find={query.get("key") ?? undefined} />}
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
