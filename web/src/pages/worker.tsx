// One worker: what it does, what it holds, what it ran last.
import { signal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { ago, bytes, bytesRate, clock, count, duration, percent } from "../base/format";
import { now, useWorkers, type WorkerRow } from "../data/tables";
import type { PageProps } from "../pages";
import { Chart } from "../parts/chart";
import { Empty, Go, Panel, Problem, Stat } from "../parts/common";
import { useAnswer } from "../wire/api";
import { MemoryBar, MemoryLegend } from "./overview";
import { RunsGrid } from "./task";
import { statusOf } from "./workers";

const MOST = 300;
interface Samples {
  time: number[];
  cpu: number[];
  process: number[];
  managed: number[];
}
// What was seen of a worker since its page was opened: the observer keeps the cluster's series, not each worker's.
const samples = signal<Samples>({ time: [], cpu: [], process: [], managed: [] });

function sample(row: WorkerRow, time: number): void {
  const { time: times, cpu, process, managed } = samples.peek();
  if (times[times.length - 1] === time) {
    return;
  }
  const keep = <T,>(list: T[], value: T) => [...list.slice(-MOST + 1), value];
  samples.value = { time: keep(times, time), cpu: keep(cpu, row.cpu / 100), process: keep(process, row.process), managed: keep(managed, row.managed) };
}

// The shares of the limit at which workers act, as Dask's defaults have them.
const THRESHOLDS = [[0.6, "spills results"], [0.7, "spills by its own size"], [0.8, "pauses"], [0.95, "ends"]] as const;

function Charts({ row }: { row: WorkerRow }) {
  const { time, cpu, process, managed } = samples.value;
  const marks = row.limit > 0 ? THRESHOLDS.map(([share, name]) => ({ at: share * row.limit, name: `${share * 100} % ${name}` })) : [];
  return (
    <div class="columns">
      <Panel title="CPU"><Chart label="CPU" time={time} unit={percent} lines={[{ name: "CPU", values: cpu, color: "--c-processing", fill: true }]} height={150} /></Panel>
      <Panel title="Memory">
        <Chart label="Memory" time={time} binary unit={bytes} top={row.limit > 0 ? row.limit : undefined} marks={marks} height={150}
          lines={[{ name: "process", values: process, color: "--c-old", fill: true }, { name: "managed", values: managed, color: "--c-managed" }]} />
      </Panel>
    </div>
  );
}

export function Worker({ name }: PageProps) {
  const table = useWorkers();
  const row = table.list().find((one) => one.address === name || one.name === name);
  const { data, error } = useAnswer(row && "runs", { worker: row?.id, limit: 200 }, 3);
  useEffect(() => {
    samples.value = { time: [], cpu: [], process: [], managed: [] };
  }, [name]);
  useEffect(() => {
    if (row !== undefined && now.value > 0) {
      sample(row, table.time);
    }
  });
  if (row === undefined) {
    return table.loaded ? <Empty>No worker {name} is known here. <Go href="workers?gone=1">All workers</Go></Empty> : null;
  }
  return (
    <>
      <h1 class="name">{row.name} <span class="dim">{row.address}</span></h1>
      <dl class="stats">
        <Stat name="status" value={statusOf(row)} note={`seen ${ago(row.removed || row.lastSeen, now.value)}`} alarm={row.removed > 0 || row.status === "paused"} />
        <Stat name="running" value={`${count(row.executing)} of ${count(row.nthreads)}`} note={`${count(row.processing)} assigned`} />
        <Stat name="CPU" value={percent(row.cpu / 100)} note={`${count(row.nthreads)} threads`} />
        <Stat name="memory" value={bytes(row.process)} note={`of ${bytes(row.limit)}`} />
        <Stat name="results held" value={count(row.hasWhat)} note={bytes(row.managed)} />
        <Stat name="runs" value={count(row.runs)} note={`${count(row.failures)} failed`} />
        <Stat name="computed" value={duration(row.busy)} note="seconds of threads" />
        <Stat name="network" value={`${bytesRate(row.netRead)} in`} note={`${bytesRate(row.netWrite)} out`} />
        <Stat name="disk" value={`${bytesRate(row.diskRead)} in`} note={`${bytesRate(row.diskWrite)} out`} />
      </dl>
      <p class="tools">
        <Go href={`tasks?worker=${row.id}`}>Its task stream</Go> <Go href={`info/call-stacks/${encodeURIComponent(row.address)}.html`}>Its call stacks</Go>
        {row.removed > 0 && <b class="bad">gone since {clock(row.removed)}</b>}
      </p>
      <Charts row={row} />
      <Panel title="Memory by kind" side={`of ${bytes(row.limit)}`}><MemoryBar row={row} wide /><MemoryLegend row={row} /></Panel>
      <Panel title="Last runs"><Problem error={error} /><RunsGrid runs={data?.runs ?? []} /></Panel>
    </>
  );
}
