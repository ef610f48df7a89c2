// Stock's individual-* addresses: one panel that fills its frame, as JupyterLab embeds them.
import type { FunctionComponent } from "preact";
import { bytesRate, count, duration, percent } from "../base/format";
import { history, type Field } from "../data/history";
import { prefixes, type PrefixRow } from "../data/prefixes";
import { useGroups, useWorkers, workersHere, type WorkerRow } from "../data/tables";
import { Chart } from "../parts/chart";
import { Meter, Swatch, WorkerLink } from "../parts/common";
import { Grid, type GridColumn } from "../parts/grid";
import { Activities } from "./activities";
import { Graph, GroupsGrid } from "./groups";
import { ClusterMemory, Progress, ThroughputChart } from "./overview";
import { MemoryByPrefix, MemoryByWorker, MemoryChart } from "./memory";
import { Problems } from "./problems";
import { Profile } from "./profile";
import { LoopChart } from "./scheduler";
import { Stream } from "./stream";
import { Transfers } from "./transfers";
import { Workers } from "./workers";

interface Panel {
  title: string;
  show: FunctionComponent<{ name?: string }>;
}

type Measure = { title: string; value(row: WorkerRow): number; text(value: number): string; whole?(row: WorkerRow): number };

// A number of each worker, as bars that share a scale.
function byWorker(measures: readonly Measure[]): FunctionComponent {
  return function ByWorker() {
    useWorkers();
    const rows = workersHere();
    const columns: GridColumn<WorkerRow>[] = [
      { id: "name", title: "worker", text: true, grow: true, value: (row) => row.name, cell: (row) => <WorkerLink address={row.address} name={row.name} /> },
      ...measures.map((one, index) => {
        const most = Math.max(...rows.map(one.value).filter(Number.isFinite), 1e-9);
        return {
          id: String(index), title: one.title, value: one.value,
          cell: (row: WorkerRow) => <Meter share={one.value(row) / (one.whole ? one.whole(row) : most)}>{one.text(one.value(row))}</Meter>,
        };
      }),
    ];
    return <Grid tall label={measures.map((one) => one.title).join(", ")} rows={rows} columns={columns} id={(row) => row.id} sort="-0" empty="No workers." />;
  };
}

function overTime(label: string, field: Field, unit: (value: number) => string): FunctionComponent {
  return function OverTime() {
    const { time, values } = history.value;
    return <Chart label={label} time={time} unit={unit} height={Math.max(120, window.innerHeight - 60)} lines={[{ name: label, values: values[field], color: "--c-processing", fill: true }]} />;
  };
}

const TIMES: readonly GridColumn<PrefixRow>[] = [
  { id: "prefix", title: "prefix", text: true, grow: true, value: (row) => row.prefix, cell: (row) => <><Swatch prefix={row.prefix} /> {row.prefix}</> },
  { id: "seconds", title: "seconds of runs", value: (row) => row.seconds, cell: (row) => duration(row.seconds) },
  { id: "mean", title: "mean", value: (row) => row.seconds / row.runs, cell: (row) => duration(row.seconds / row.runs) },
  { id: "runs", title: "runs", value: (row) => row.runs, cell: (row) => count(row.runs) },
];

function ComputeTimes() {
  useGroups();
  return <Grid tall label="Compute time by prefix" rows={prefixes()} columns={TIMES} id={(row) => row.prefix} sort="-seconds" empty="No runs yet." />;
}

const cpu: Measure = { title: "CPU", value: (row) => row.cpu, text: (value) => percent(value / 100), whole: (row) => row.nthreads * 100 };
const network: Measure[] = [
  { title: "network in", value: (row) => row.netRead, text: bytesRate },
  { title: "network out", value: (row) => row.netWrite, text: bytesRate },
];
const disk: Measure[] = [
  { title: "disk in", value: (row) => row.diskRead, text: bytesRate },
  { title: "disk out", value: (row) => row.diskWrite, text: bytesRate },
];

export const PANELS: Record<string, Panel | undefined> = {
  "task-stream": { title: "Task stream", show: Stream },
  progress: { title: "Progress", show: Progress },
  graph: { title: "Graph", show: Graph },
  groups: { title: "Groups", show: GroupsGrid },
  "group-progress": { title: "Throughput", show: () => <ThroughputChart height={Math.max(120, window.innerHeight - 60)} /> },
  "workers-memory": { title: "Memory by worker", show: MemoryByWorker },
  "cluster-memory": { title: "Memory", show: () => <div class="flow"><ClusterMemory /><MemoryChart /></div> },
  "workers-transfer-bytes": { title: "Network by worker", show: byWorker(network) },
  cpu: { title: "CPU", show: byWorker([cpu]) },
  nprocessing: { title: "Processing", show: byWorker([{ title: "processing", value: (row) => row.processing, text: count }]) },
  occupancy: { title: "Occupancy", show: byWorker([{ title: "work assigned", value: (row) => row.occupancy, text: duration }]) },
  workers: { title: "Workers", show: Workers },
  exceptions: { title: "What went wrong", show: Problems },
  "bandwidth-types": { title: "Transfers", show: Transfers },
  "bandwidth-workers": { title: "Transfers", show: Transfers },
  "workers-network": { title: "Network", show: byWorker(network) },
  "workers-disk": { title: "Disk", show: byWorker(disk) },
  "workers-network-timeseries": { title: "Transfers", show: overTime("transfers a second", "transfers", (value) => `${count(value)}/s`) },
  "workers-cpu-timeseries": { title: "Threads busy", show: overTime("threads busy", "threads_busy", count) },
  "workers-memory-timeseries": { title: "Memory", show: () => <MemoryChart height={Math.max(120, window.innerHeight - 60)} /> },
  "workers-disk-timeseries": { title: "Disk by worker", show: byWorker(disk) },
  "memory-by-key": { title: "Memory by prefix", show: MemoryByPrefix },
  "compute-time-per-key": { title: "Compute time by prefix", show: ComputeTimes },
  "aggregate-time-per-action": { title: "Time by activity", show: Activities },
  "fine-performance-metrics": { title: "Time by activity", show: Activities },
  "scheduler-system": { title: "Scheduler", show: () => <LoopChart height={Math.max(120, window.innerHeight - 60)} /> },
  contention: { title: "Longest turn of the loop", show: () => <LoopChart height={Math.max(120, window.innerHeight - 60)} /> },
  profile: { title: "Profile", show: Profile },
  "profile-server": { title: "Profile of the workers themselves", show: Profile },
  "gpu-memory": { title: "Workers", show: Workers },
  "gpu-utilization": { title: "Workers", show: Workers },
  "rmm-memory": { title: "Memory by worker", show: MemoryByWorker },
};
