// The cluster at a glance: is it busy, with what, is there room, did anything fail.
import { bytes, count, duration, percent, rate } from "../base/format";
import { history, type Field } from "../data/history";
import { prefixes, remaining, type PrefixRow } from "../data/prefixes";
import { now, summary, useGroups, type Summary } from "../data/tables";
import { Chart } from "../parts/chart";
import { Go, Panel, Spark, StateBar, StateLegend, Swatch } from "../parts/common";
import { Grid, type GridColumn } from "../parts/grid";
import { measuredCode, report } from "../wire/offline";
import { MiniStream } from "./stream";

const COLUMNS: readonly GridColumn<PrefixRow>[] = [
  { id: "prefix", title: "prefix", text: true, grow: true, value: (row) => row.prefix,
    cell: (row) => <><Swatch prefix={row.prefix} /> <Go href={`tasks?prefix=${encodeURIComponent(row.prefix)}`}>{row.prefix}</Go></> },
  { id: "states", title: "tasks by state", text: true, value: (row) => row.done / Math.max(row.size, 1), cell: (row) => <StateBar counts={row} /> },
  { id: "runs", title: "runs", value: (row) => row.runs, cell: (row) => count(row.runs) },
  { id: "size", title: "of", value: (row) => row.size, cell: (row) => count(row.size) },
  { id: "mean", title: "mean", says: "seconds a run", value: (row) => row.seconds / row.runs, cell: (row) => duration(row.seconds / row.runs) },
  { id: "seconds", title: "total", says: "seconds of all runs", value: (row) => row.seconds, cell: (row) => duration(row.seconds) },
  { id: "nbytes", title: "held", says: "bytes of results in memory", value: (row) => row.nbytes, cell: (row) => bytes(row.nbytes) },
  { id: "failures", title: "failed", value: (row) => row.failures, cell: (row) => row.failures > 0 ? <b class="bad">✕ {count(row.failures)}</b> : "0" },
  { id: "left", title: "left", says: "as fast as it was so far", value: (row) => remaining(row, now.value), cell: (row) => duration(remaining(row, now.value)) },
];

export function Progress() {
  useGroups();
  return (
    <Grid label="Progress by prefix" rows={prefixes()} columns={COLUMNS} id={(row) => row.prefix} sort="-seconds"
      empty="No tasks yet. Give the cluster some work, and it shows here." />
  );
}

function Figure({ name, field, value, note, top }: { name: string; field: Field; value: string; note: string; top?: number }) {
  return (
    <div class="figure">
      <dt>{name}</dt>
      <dd>{value}</dd>
      <dd class="note">{note}</dd>
      <dd class="line"><Spark values={history.value.values[field]} top={top} /></dd>
    </div>
  );
}

function Figures({ row }: { row: Summary }) {
  const busy = row.threadsBusy / row.threads;
  return (
    <dl class="figures">
      <Figure name="tasks finished" field="runs" value={rate(row.runRate)} note={`${count(row.runs)} in all`} />
      <Figure name="threads busy" field="threads_busy" value={`${count(row.threadsBusy)} of ${count(row.threads)}`} note={percent(busy)} top={row.threads} />
      <Figure name="processing" field="processing" value={count(row.processing)} note={`${duration(row.occupancy / Math.max(row.threads, 1))} for each thread`} />
      <Figure name="queued" field="queued" value={count(row.queued)} note={`${count(row.waiting)} wait for inputs`} />
      <Figure name="transfers" field="transfers" value={rate(row.transferRate)} note="results between workers" />
      <Figure name="memory" field="memory_process" value={bytes(row.process)} note={`${percent(row.process / row.limit)} of ${bytes(row.limit)}`} top={row.limit} />
      <Figure name="failures" field="failures" value={count(row.failures)} note={rate(row.failureRate)} />
      <Figure name="longest turn" field="loop_longest" value={duration(row.longestTurn)} note={`scheduler busy ${percent(row.loopBusy)}`} />
    </dl>
  );
}

export function WorkerStates({ row }: { row: Summary }) {
  const partly = Math.max(0, row.workers - row.idle - row.saturated - row.paused - row.retiring);
  const all: readonly (readonly [string, number, string])[] = [
    ["idle", row.idle, "○"], ["partly busy", partly, "◐"], ["saturated", row.saturated, "●"], ["paused", row.paused, "‖"], ["retiring", row.retiring, "⇥"],
  ];
  return (
    <ul class="legend">
      {all.map(([name, value, sign]) => <li key={name} class={value === 0 ? "none" : ""}><span aria-hidden="true">{sign}</span> <b>{count(value)}</b> {name}</li>)}
    </ul>
  );
}

const MEMORY = [
  ["managed", "results of tasks", "--c-managed"],
  ["unmanagedOld", "unmanaged, for more than 30 s", "--c-old"],
  ["unmanagedRecent", "unmanaged, recent", "--c-recent"],
  ["spilled", "spilled to disk", "--c-spilled"],
] as const;

export type MemoryKinds = Pick<Summary, "managed" | "unmanagedOld" | "unmanagedRecent" | "spilled" | "limit">;

// Memory by kind against its limit; what is on disk stands beside, hatched, as it is not in memory.
export function MemoryBar({ row, wide }: { row: MemoryKinds; wide?: boolean }) {
  const sum = row.managed + row.unmanagedOld + row.unmanagedRecent;
  const whole = Math.max(row.limit > 0 ? row.limit : 0, sum + (row.spilled || 0));
  const says = MEMORY.map(([field, name]) => `${name} ${bytes(row[field])}`).join(", ");
  return (
    <div class={wide ? "bar wide" : "bar"} role="img" aria-label={says} title={says}>
      {whole > 0 && MEMORY.map(([field]) => row[field] > 0 && <span key={field} class={`m-${field}`} style={{ width: `${(row[field] / whole) * 100}%` }} />)}
    </div>
  );
}

export function MemoryLegend({ row }: { row: MemoryKinds }) {
  return (
    <ul class="legend">
      {MEMORY.map(([field, name]) => <li key={field} class={row[field] > 0 ? "" : "none"}><span class={`box m-${field}`} aria-hidden="true" /> <b>{bytes(row[field])}</b> {name}</li>)}
    </ul>
  );
}

export function ClusterMemory() {
  const row = summary.value;
  return row === undefined ? null : <><MemoryBar row={row} wide /><MemoryLegend row={row} /></>;
}

export function ThroughputChart({ height = 130 }: { height?: number }) {
  const { time, values } = history.value;
  return (
    <Chart label="Tasks finished each second" time={time} unit={(value) => rate(value)} height={height}
      lines={[{ name: "finished", values: values.runs, color: "--c-processing", fill: true }, { name: "failed", values: values.failures, color: "--c-erred", dash: [4, 3] }]} />
  );
}

export function Overview() {
  const row = summary.value;
  if (row === undefined) {
    return <p class="empty">Waiting for the observer…</p>;
  }
  const kept = report();
  const code = measuredCode();
  return (
    <>
      {code !== undefined && <Panel title="Code" side="that was measured"><pre>{code}</pre></Panel>}
      <Figures row={row} />
      <Panel title="Tasks" side={<StateLegend counts={row} />}><StateBar counts={row} wide /></Panel>
      <div class="columns">
        <Panel title="Memory" side={`of ${bytes(row.limit)}`}><ClusterMemory /></Panel>
        <Panel title="Workers" side={`${count(row.workers)} with ${count(row.threads)} threads, ${count(row.clients)} clients`}><WorkerStates row={row} /></Panel>
      </div>
      <Panel title={<Go href="tasks">Task stream</Go>} side={kept === undefined ? "the last minute" : `all ${duration(kept.until - kept.since)}`}><MiniStream /></Panel>
      <Panel title="Progress"><Progress /></Panel>
    </>
  );
}
