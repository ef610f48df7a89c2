// All workers, those that are gone too if asked for.
import { ago, bytes, bytesRate, count, duration, percent } from "../base/format";
import { place, setQuery, workerHref } from "../base/route";
import { now, useWorkers, type WorkerRow } from "../data/tables";
import { Meter, WorkerLink } from "../parts/common";
import { Grid, type GridColumn } from "../parts/grid";
import { MemoryBar } from "./overview";

const SIGNS: Record<string, string> = { running: "●", paused: "‖", closing_gracefully: "⇥", init: "…" };

export function statusOf(row: WorkerRow): string {
  return row.removed > 0 ? "✕ gone" : `${SIGNS[row.status] ?? "•"} ${row.status.replace("closing_gracefully", "retiring")}`;
}

const LATE_SECONDS = 5;

function seen(row: WorkerRow) {
  const text = ago(row.removed || row.lastSeen, now.value);
  return row.removed === 0 && now.value - row.lastSeen > LATE_SECONDS ? <b class="bad">⚠ {text}</b> : text;
}

export const WORKER_COLUMNS: readonly GridColumn<WorkerRow>[] = [
  { id: "name", title: "worker", text: true, grow: true, value: (row) => row.name, cell: (row) => <WorkerLink address={row.address} name={row.name} /> },
  { id: "status", title: "status", text: true, value: (row) => row.status, cell: statusOf },
  { id: "nthreads", title: "threads", value: (row) => row.nthreads, cell: (row) => count(row.nthreads) },
  { id: "cpu", title: "CPU", says: "100 % is one core", value: (row) => row.cpu,
    cell: (row) => <Meter share={row.cpu / 100 / row.nthreads}>{percent(row.cpu / 100)}</Meter> },
  { id: "memory", title: "memory", value: (row) => row.process,
    cell: (row) => <Meter share={row.process / row.limit} alarm={row.process > 0.7 * row.limit}>{bytes(row.process)}</Meter> },
  { id: "kinds", title: "by kind", text: true, says: "managed, unmanaged, spilled of the limit", value: (row) => row.managed, cell: (row) => <MemoryBar row={row} /> },
  { id: "spilled", title: "spilled", value: (row) => row.spilled, cell: (row) => bytes(row.spilled) },
  { id: "executing", title: "running", value: (row) => row.executing, cell: (row) => count(row.executing) },
  { id: "processing", title: "processing", says: "assigned to it", value: (row) => row.processing, cell: (row) => count(row.processing) },
  { id: "hasWhat", title: "keys", says: "results it holds", value: (row) => row.hasWhat, cell: (row) => count(row.hasWhat) },
  { id: "runs", title: "runs", value: (row) => row.runs, cell: (row) => count(row.runs) },
  { id: "failures", title: "failed", value: (row) => row.failures, cell: (row) => row.failures > 0 ? <b class="bad">✕ {count(row.failures)}</b> : "0" },
  { id: "occupancy", title: "work", says: "seconds of work assigned", value: (row) => row.occupancy, cell: (row) => duration(row.occupancy) },
  { id: "netRead", title: "net in", value: (row) => row.netRead, cell: (row) => bytesRate(row.netRead) },
  { id: "netWrite", title: "net out", value: (row) => row.netWrite, cell: (row) => bytesRate(row.netWrite) },
  { id: "diskRead", title: "disk in", value: (row) => row.diskRead, cell: (row) => bytesRate(row.diskRead) },
  { id: "diskWrite", title: "disk out", value: (row) => row.diskWrite, cell: (row) => bytesRate(row.diskWrite) },
  { id: "fds", title: "fds", value: (row) => row.fds, cell: (row) => count(row.fds) },
  { id: "seen", title: "seen", value: (row) => -row.lastSeen, cell: seen },
];

export function WorkersGrid({ rows }: { rows: readonly WorkerRow[] }) {
  return (
    <Grid tall label="Workers" rows={rows} columns={WORKER_COLUMNS} id={(row) => row.id} sort="name" href={(row) => workerHref(row.address)}
      className={(row) => (row.removed > 0 ? "gone" : "")} empty="No workers. Start some: cask worker ADDRESS, or dask worker ADDRESS." />
  );
}

export function Workers() {
  const all = useWorkers().list();
  const gone = place.value.query.get("gone") === "1";
  const left = all.filter((row) => row.removed > 0).length;
  return (
    <>
      <div class="tools">
        <label><input type="checkbox" checked={gone} onChange={() => setQuery({ gone: gone ? undefined : "1" })} /> also the {count(left)} that are gone</label>
      </div>
      <WorkersGrid rows={gone ? all : all.filter((row) => row.removed === 0)} />
    </>
  );
}
