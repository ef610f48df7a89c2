// Where memory is: on which worker, of which kind, of which tasks.
import { bytes, count, percent } from "../base/format";
import { workerHref } from "../base/route";
import { prefixes, type PrefixRow } from "../data/prefixes";
import { history } from "../data/history";
import { groups, summary, useGroups, useWorkers, workersHere, type GroupRow, type WorkerRow } from "../data/tables";
import { Chart } from "../parts/chart";
import { Go, Meter, Panel, StateBar, Swatch, WorkerLink } from "../parts/common";
import { Grid, type GridColumn } from "../parts/grid";
import { ClusterMemory, MemoryBar } from "./overview";

const WORKERS: readonly GridColumn<WorkerRow>[] = [
  { id: "name", title: "worker", text: true, grow: true, value: (row) => row.name, cell: (row) => <WorkerLink address={row.address} name={row.name} /> },
  { id: "kinds", title: "by kind", text: true, value: (row) => row.process / row.limit, cell: (row) => <MemoryBar row={row} /> },
  { id: "process", title: "process", value: (row) => row.process, cell: (row) => <Meter share={row.process / row.limit} alarm={row.process > 0.7 * row.limit}>{bytes(row.process)}</Meter> },
  { id: "share", title: "of limit", value: (row) => row.process / row.limit, cell: (row) => percent(row.process / row.limit) },
  { id: "managed", title: "managed", value: (row) => row.managed, cell: (row) => bytes(row.managed) },
  { id: "old", title: "unmanaged", says: "for more than 30 s", value: (row) => row.unmanagedOld, cell: (row) => bytes(row.unmanagedOld) },
  { id: "recent", title: "recent", says: "unmanaged, for less than 30 s", value: (row) => row.unmanagedRecent, cell: (row) => bytes(row.unmanagedRecent) },
  { id: "spilled", title: "spilled", value: (row) => row.spilled, cell: (row) => bytes(row.spilled) },
  { id: "hasWhat", title: "keys", value: (row) => row.hasWhat, cell: (row) => count(row.hasWhat) },
];

const PREFIXES: readonly GridColumn<PrefixRow>[] = [
  { id: "prefix", title: "prefix", text: true, grow: true, value: (row) => row.prefix,
    cell: (row) => <><Swatch prefix={row.prefix} /> {row.prefix}</> },
  { id: "nbytes", title: "held", value: (row) => row.nbytes, cell: (row) => bytes(row.nbytes) },
  { id: "memory", title: "results", value: (row) => row.memory, cell: (row) => count(row.memory) },
  { id: "each", title: "each", value: (row) => row.nbytes / row.memory, cell: (row) => bytes(row.nbytes / row.memory) },
  { id: "states", title: "tasks by state", text: true, value: (row) => row.memory / row.size, cell: (row) => <StateBar counts={row} /> },
];

const GROUPS: readonly GridColumn<GroupRow>[] = [
  { id: "name", title: "group", text: true, grow: true, value: (row) => row.name, cell: (row) => <Go class="key" href={`groups?group=${row.id}`}>{row.name}</Go> },
  { id: "nbytes", title: "held", value: (row) => row.nbytes, cell: (row) => bytes(row.nbytes) },
  { id: "memory", title: "results", value: (row) => row.memory, cell: (row) => count(row.memory) },
];

export function MemoryByWorker() {
  useWorkers();
  return <Grid label="Memory by worker" rows={workersHere()} columns={WORKERS} id={(row) => row.id} sort="-share" href={(row) => workerHref(row.address)} empty="No workers." />;
}

export function MemoryByPrefix() {
  useGroups();
  return <Grid label="Memory by prefix" rows={prefixes().filter((row) => row.memory > 0)} columns={PREFIXES} id={(row) => row.prefix} sort="-nbytes" empty="No results are held." />;
}

export function MemoryChart({ height = 150 }: { height?: number }) {
  const { time, values } = history.value;
  const limit = summary.value?.limit ?? NaN;
  const most = Math.max(...values.memory_process.filter(Number.isFinite), 0);
  return (
    <Chart label="Memory of the cluster" time={time} binary unit={bytes} height={height} top={most > 0.3 * limit ? limit : undefined}
      lines={[
        { name: "process", values: values.memory_process, color: "--c-old", fill: true },
        { name: "managed", values: values.managed, color: "--c-managed" },
        { name: "spilled", values: values.spilled, color: "--c-spilled", dash: [4, 3] },
      ]} />
  );
}

export function Memory() {
  useGroups();
  const held = groups.list().filter((group) => group.memory > 0);
  return (
    <>
      <Panel title="Cluster" side={`of ${bytes(summary.value?.limit)}`}><ClusterMemory /><MemoryChart /></Panel>
      <Panel title="By worker" side="managed, unmanaged old and recent, spilled (hatched)"><MemoryByWorker /></Panel>
      <Panel title="By prefix" side="a result held by two workers counts once"><MemoryByPrefix /></Panel>
      <Panel title="By group"><Grid label="Memory by group" rows={held} columns={GROUPS} id={(row) => row.id} sort="-nbytes" empty="No results are held." /></Panel>
    </>
  );
}
