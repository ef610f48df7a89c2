// Groups and how they depend on one another. A graph of a million tasks has some dozens of groups: they have names,
// counts and times, and each opens as a map of its chunks.
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { bytes, count, duration } from "../base/format";
import { ALARM, css, dark, nthColor, pixel, prefixColor, sequential, STATES, type Rgb } from "../base/palette";
import { place, range, setQuery, type Range } from "../base/route";
import { cells, indices, type Cell } from "../draw/chunks";
import { layout, type Layout } from "../draw/layers";
import { Raster } from "../draw/raster";
import { groups, useGroups, useWorkers, type GroupRow } from "../data/tables";
import { Choice, Empty, Go, Panel, Problem, StateBar, StateLegend, Stat, Swatch, useSize } from "../parts/common";
import { Grid, type GridColumn } from "../parts/grid";
import { get, useAnswer } from "../wire/api";
import type { Json } from "../wire/channels";
import { RunsGrid } from "./task";

const NODES_MOST = 300;
const WIDTH = 190;
const HEIGHT = 46;
const GAP_X = 56;
const GAP_Y = 14;

const COLUMNS: readonly GridColumn<GroupRow>[] = [
  { id: "name", title: "group", text: true, grow: true, value: (row) => row.name, cell: (row) => <><Swatch prefix={row.prefix} /> <Go class="key" href={`groups?group=${row.id}`}>{row.name}</Go></> },
  { id: "states", title: "tasks by state", text: true, value: (row) => row.memory / row.size, cell: (row) => <StateBar counts={row} total={row.size} /> },
  { id: "size", title: "tasks", value: (row) => row.size, cell: (row) => count(row.size) },
  { id: "runs", title: "runs", value: (row) => row.runs, cell: (row) => count(row.runs) },
  { id: "failures", title: "failed", value: (row) => row.failures, cell: (row) => (row.failures > 0 ? <b class="bad">✕ {count(row.failures)}</b> : "0") },
  { id: "mean", title: "mean", value: (row) => row.duration / row.runs, cell: (row) => duration(row.duration / row.runs) },
  { id: "duration", title: "total", value: (row) => row.duration, cell: (row) => duration(row.duration) },
  { id: "nbytes", title: "held", value: (row) => row.nbytes, cell: (row) => bytes(row.nbytes) },
  { id: "start", title: "took", says: "from first start to last end", value: (row) => row.stop - row.start, cell: (row) => duration(row.stop - row.start) },
];

interface Node {
  id: number;
  title: string;
  prefix: string;
  rows: GroupRow[];
}

const sum = (rows: readonly GroupRow[], field: "size" | "runs" | "duration" | "nbytes" | (typeof STATES)[number]["id"]): number =>
  rows.reduce((all, row) => all + (Number.isFinite(row[field]) ? row[field] : 0), 0);

// A node a group; where those are too many to draw, one a prefix.
function nodesOf(list: readonly GroupRow[]): { nodes: Node[]; nodeOf: Map<number, number> } {
  const nodeOf = new Map<number, number>();
  if (list.length <= NODES_MOST) {
    list.forEach((row) => nodeOf.set(row.id, row.id));
    return { nodes: list.map((row) => ({ id: row.id, title: row.prefix, prefix: row.prefix, rows: [row] })), nodeOf };
  }
  const byPrefix = new Map<string, Node>();
  for (const row of list) {
    const node = byPrefix.get(row.prefix) ?? { id: row.id, title: row.prefix, prefix: row.prefix, rows: [] };
    node.rows.push(row);
    byPrefix.set(row.prefix, node);
    nodeOf.set(row.id, node.id);
  }
  const nodes = [...byPrefix.values()].sort((one, other) => sum(other.rows, "size") - sum(one.rows, "size"));
  return { nodes: nodes.slice(0, NODES_MOST), nodeOf };
}

function edgesOf(answer: Json, nodeOf: Map<number, number>): [number, number][] {
  const seen = new Set<string>();
  const edges: [number, number][] = [];
  for (const group of answer?.groups ?? []) {
    for (const input of group.depends_on as number[]) {
      const from = nodeOf.get(input);
      const to = nodeOf.get(group.id);
      if (from !== undefined && to !== undefined && from !== to && !seen.has(`${from}/${to}`)) {
        seen.add(`${from}/${to}`);
        edges.push([from, to]);
      }
    }
  }
  return edges;
}

function NodeBox({ node, x, y }: { node: Node; x: number; y: number }) {
  const size = Math.max(sum(node.rows, "size"), 1);
  const failed = sum(node.rows, "erred");
  let left = 0;
  const parts = STATES.map((state) => ({ state, share: sum(node.rows, state.id) / size })).filter((part) => part.share > 0);
  const href = node.rows.length === 1 ? `groups?group=${node.id}` : `groups?prefix=${encodeURIComponent(node.prefix)}`;
  const says = `${parts.map((part) => `${count(part.share * size)} ${part.state.name}`).join(", ")}`;
  return (
    <Go href={href} class="node">
      <title>{`${node.rows[0].name}: ${says}`}</title>
      <rect x={x} y={y} width={WIDTH} height={HEIGHT} />
      <rect x={x} y={y} width={4} height={HEIGHT} class="edge" style={{ fill: css(prefixColor(node.prefix)) }} />
      <text x={x + 10} y={y + 16}>{failed > 0 ? "✕ " : ""}{node.title.length > 24 ? `${node.title.slice(0, 23)}…` : node.title}</text>
      <text x={x + 10} y={y + 31} class="dim">{count(size)} · {duration(sum(node.rows, "duration"))} · {bytes(sum(node.rows, "nbytes"))}</text>
      {parts.map(({ state, share }) => {
        const at = left;
        left += share * (WIDTH - 4);
        return <rect key={state.id} class={`f-${state.id}`} x={x + 4 + at} y={y + HEIGHT - 6} width={share * (WIDTH - 4)} height={6} />;
      })}
    </Go>
  );
}

export function Graph() {
  const list = useGroups().list().filter((row) => row.size > row.forgotten);
  const { data, error } = useAnswer("groups", { limit: 1000 }, 5);
  const { nodes, nodeOf } = nodesOf(list);
  const edges = edgesOf(data, nodeOf);
  const shape = JSON.stringify([nodes.map((node) => node.id), edges]);
  const placed: Layout = useMemo(() => layout(nodes.map((node) => node.id), edges), [shape]);
  const at = new Map(placed.nodes.map((node) => [node.id, { x: 8 + node.layer * (WIDTH + GAP_X), y: 8 + (node.row + (placed.rows - 1) / 2) * (HEIGHT + GAP_Y) }]));
  const width = placed.layers * (WIDTH + GAP_X) - GAP_X + 16;
  const height = placed.rows * (HEIGHT + GAP_Y) + 16;
  if (nodes.length === 0) {
    return groups.loaded ? <Empty>No tasks. A graph that comes shows here as its groups.</Empty> : null;
  }
  return (
    <div class="scroll graph" tabIndex={0} role="region" aria-label="Graph of groups">
      <Problem error={error} />
      <svg width={width} height={height} viewBox={`0 0 ${width} ${height}`} role="group" aria-label={`${nodes.length} groups, ${edges.length} dependencies`}>
        {edges.map(([from, to]) => {
          const a = at.get(from);
          const b = at.get(to);
          if (a === undefined || b === undefined) {
            return null;
          }
          const [x0, y0, x1, y1] = [a.x + WIDTH, a.y + HEIGHT / 2, b.x, b.y + HEIGHT / 2];
          const bend = Math.max(20, Math.abs(x1 - x0) / 2);
          return <path key={`${from}/${to}`} class="link" d={`M${x0} ${y0}C${x0 + bend} ${y0} ${x1 - bend} ${y1} ${x1} ${y1}`} />;
        })}
        {nodes.map((node) => {
          const spot = at.get(node.id);
          return spot && <NodeBox key={node.id} node={node} x={spot.x} y={spot.y} />;
        })}
      </svg>
    </div>
  );
}

const CHUNKS_MOST = 10_000;

async function allRuns(group: number, within: Range | undefined, stop: AbortSignal): Promise<Json[]> {
  const runs: Json[] = [];
  let after: string | undefined;
  do {
    const page = await get("runs", { group, since: within?.since, until: within?.until, limit: 1000, after }, stop);
    runs.push(...page.runs);
    after = page.next ?? undefined;
  } while (after !== undefined && runs.length < CHUNKS_MOST);
  return runs;
}

type By = "duration" | "nbytes" | "worker";

function paint(canvas: HTMLCanvasElement, runs: readonly Json[], places: readonly (Cell | undefined)[], by: By, width: number): number {
  const across = places.reduce((most, cell) => Math.max(most, (cell?.x ?? 0) + 1), 1);
  const down = places.reduce((most, cell) => Math.max(most, (cell?.y ?? 0) + 1), 1);
  // Square cells as large as fit; with more chunks than pixels several share one, and the last of them is seen.
  const scale = Math.min(24, Math.max(width / across, 1 / 64));
  const height = Math.max(8, Math.min(Math.ceil(down * scale), 600));
  const raster = new Raster(canvas);
  raster.resize(Math.max(1, Math.min(width, Math.ceil(across * scale))), height);
  raster.clear(dark.value ? pixel([33, 37, 41]) : pixel([243, 243, 240]));
  const values = runs.map((run) => Number(run[by]) || 0);
  const most = values.reduce((all, value) => Math.max(all, value), 1e-12);
  const gap = scale > 5 ? 1 : 0;
  runs.forEach((run, index) => {
    const cell = places[index];
    if (cell !== undefined) {
      const color: Rgb = by === "worker" ? nthColor(run.worker) : sequential(values[index] / most);
      const unit = scale * raster.ratio;
      const [x0, y0] = [Math.floor(cell.x * unit), Math.floor(cell.y * unit)];
      const [x1, y1] = [Math.max(x0 + 1, Math.floor((cell.x + 1) * unit) - gap), Math.max(y0 + 1, Math.floor((cell.y + 1) * unit) - gap)];
      raster.fill(x0, y0, x1, y1, pixel(color));
      if (run.status !== "ok") {
        raster.frame(x0, y0, Math.max(x1, x0 + 3), Math.max(y1, y0 + 3), Math.max(1, Math.floor(unit / 8)), pixel(ALARM));
      }
    }
  });
  raster.show();
  canvas.style.width = `${raster.width / raster.ratio}px`;
  canvas.style.height = `${raster.height / raster.ratio}px`;
  return scale;
}

function ChunkMap({ runs }: { runs: readonly Json[] }) {
  const { element, width } = useSize<HTMLDivElement>();
  const canvas = useRef<HTMLCanvasElement>(null);
  const [by, setBy] = useState<By>("duration");
  const places = useMemo(() => cells(runs.map((run) => indices(run.key))), [runs]);
  const known = places.filter((cell) => cell !== undefined).length;
  useEffect(() => {
    if (canvas.current !== null && width > 0 && known > 0) {
      paint(canvas.current, runs, places, by, width);
    }
  }, [runs, by, width, dark.value]);
  if (known === 0) {
    return <Empty>These keys have no place on a grid.</Empty>;
  }
  return (
    <div ref={element}>
      <div class="tools">
        <Choice label="colour" value={by} options={[["duration", "by duration"], ["nbytes", "by size"], ["worker", "by worker"]]} onChange={(value: string) => setBy(value as By)} />
        <span class="dim">{count(known)} chunks that ran; ✕ failed ones are outlined. The table below has their numbers.</span>
      </div>
      <canvas ref={canvas} role="img" aria-label={`Map of ${count(known)} chunks ${by === "worker" ? "by worker" : `by ${by}`}`} />
    </div>
  );
}

function One({ row }: { row: GroupRow }) {
  useWorkers();
  const [runs, setRuns] = useState<Json[]>([]);
  const [error, setError] = useState<Error | undefined>(undefined);
  const { data } = useAnswer("groups", { limit: 1000 }, 5);
  const detail = data?.groups.find((group: Json) => group.id === row.id);
  useEffect(() => {
    const stop = new AbortController();
    allRuns(row.id, range.value, stop.signal).then(setRuns, (wrong: Error) => !stop.signal.aborted && setError(wrong));
    return () => stop.abort();
  }, [row.id, row.runs === row.size, range.value]);
  return (
    <div class="flow">
      <h1 class="name key"><Swatch prefix={row.prefix} /> {row.name} <Go class="dim" href="groups">all groups</Go></h1>
      <dl class="stats">
        <Stat name="tasks" value={count(row.size)} note={`${count(row.runs)} runs`} />
        <Stat name="failed" value={count(row.failures)} alarm={row.failures > 0} />
        <Stat name="median" value={duration(detail?.duration?.p50)} note={`90 % under ${duration(detail?.duration?.p90)}`} />
        <Stat name="longest" value={duration(detail?.duration?.max)} note={`99 % under ${duration(detail?.duration?.p99)}`} />
        <Stat name="total" value={duration(row.duration)} note={detail && `${duration(detail.transfer)} of transfer`} />
        <Stat name="held" value={bytes(row.nbytes)} />
      </dl>
      <Panel title="Tasks by state" side={<StateLegend counts={row} />}><StateBar counts={row} total={row.size} wide /></Panel>
      <Problem error={error} />
      <Panel title="Chunks"><ChunkMap runs={runs} /></Panel>
      <Panel title="Runs" side={runs.length >= CHUNKS_MOST ? `the newest ${count(CHUNKS_MOST)}` : undefined}><RunsGrid runs={runs} /></Panel>
    </div>
  );
}

export function GroupsGrid() {
  const prefix = place.value.query.get("prefix");
  const list = useGroups().list().filter((row) => prefix === null || row.prefix === prefix);
  return <Grid tall label="Groups" rows={list} columns={COLUMNS} id={(row) => row.id} sort="-start" href={(row) => `groups?group=${row.id}`} empty="No groups." />;
}

export function Groups() {
  useGroups();
  const query = place.value.query;
  const chosen = query.has("group") ? groups.rows.get(Number(query.get("group"))) : undefined;
  if (chosen !== undefined) {
    return <One row={chosen} />;
  }
  const prefix = query.get("prefix");
  return (
    <>
      {prefix !== null && <div class="tools"><button type="button" onClick={() => setQuery({ prefix: undefined })}>only {prefix} ✕</button></div>}
      {prefix === null && <Panel title="Graph" side="inputs left of what uses them" class="fill"><Graph /></Panel>}
      <Panel title="Groups" class="fill"><GroupsGrid /></Panel>
    </>
  );
}
