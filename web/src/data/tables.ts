// What the live channels said, as rows by their id, and as signals that pages look at.
import { effect, signal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { assignColors } from "../base/palette";
import { live, type Batch, type Wish } from "../wire/live";
import { Table } from "./table";

export interface Summary {
  state: number; workers: number; threads: number; idle: number; saturated: number; paused: number; retiring: number;
  clients: number; released: number; waiting: number; noWorker: number; queued: number; processing: number;
  memory: number; erred: number; runs: number; failures: number; runRate: number; failureRate: number;
  transferRate: number; occupancy: number; limit: number; process: number; managed: number; unmanagedOld: number;
  unmanagedRecent: number; spilled: number; longestTurn: number; loopBusy: number; dropped: number;
  threadsBusy: number; reason: string; graphs: number; desired: number;
}

export interface WorkerRow {
  id: number; status: string; name: string; address: string; nthreads: number; limit: number; process: number;
  managed: number; unmanagedOld: number; unmanagedRecent: number; spilled: number; cpu: number; processing: number;
  executing: number; hasWhat: number; occupancy: number; netRead: number; netWrite: number; diskRead: number;
  diskWrite: number; fds: number; lastSeen: number; runs: number; failures: number; busy: number; removed: number;
}

export interface GroupRow {
  id: number; name: string; prefix: string; size: number; released: number; waiting: number; noWorker: number;
  queued: number; processing: number; memory: number; erred: number; forgotten: number; runs: number;
  failures: number; duration: number; nbytes: number; start: number; stop: number;
}

export interface FailureRow {
  id: number; prefix: string; type: string; message: string; where: string; count: number; first: number;
  last: number; cause: number;
}

export interface FindingRow {
  id: number; kind: string; severity: number; sentence: string; advice: string; link: string; count: number;
  first: number; last: number; active: number; detail: string;
}

export interface LogRow {
  n: number; time: number; level: number; logger: string; text: string;
}

const LOG_LINES = 2000;
export const summary = signal<Summary | undefined>(undefined);
export const now = signal(0); // time of the newest data
export const workers = new Table<WorkerRow>("id");
export const groups = new Table<GroupRow>("id");
export const failures = new Table<FailureRow>("id");
export const findings = new Table<FindingRow>("id");
export const logs = new Table<LogRow>("n", LOG_LINES);

function useChannel(name: string, wish: Wish, listener: (batch: Batch) => void): void {
  useEffect(() => live().subscribe(name, wish, listener), []);
}

export function useSummary(): Summary | undefined {
  useChannel("summary", { hz: 2 }, applySummary);
  return summary.value;
}

function applySummary(batch: Batch): void {
  const row = batch.rows[0];
  if (row !== undefined) {
    summary.value = row as unknown as Summary;
    now.value = batch.time;
  }
}

function useTable<T>(table: Table<T>, name: string, hz: number): Table<T> {
  useChannel(name, { hz }, applyOf(table as Table<unknown>));
  void table.version.value;
  return table;
}

// One function a table: subscriptions with the same listener are one.
const appliers = new Map<Table<unknown>, (batch: Batch) => void>();
function applyOf(table: Table<unknown>): (batch: Batch) => void {
  let apply = appliers.get(table);
  if (apply === undefined) {
    apply = (batch) => table.apply(batch);
    appliers.set(table, apply);
  }
  return apply;
}

export const useWorkers = (hz = 2): Table<WorkerRow> => useTable(workers, "workers", hz);
export const useGroups = (): Table<GroupRow> => useTable(groups, "groups", 2);

// The busiest prefixes have the colours, on whichever page.
effect(() => {
  const seconds = new Map<string, number>();
  for (const group of groups.list()) {
    seconds.set(group.prefix, (seconds.get(group.prefix) ?? 0) + group.duration);
  }
  assignColors([...seconds.keys()].sort((one, other) => (seconds.get(other) ?? 0) - (seconds.get(one) ?? 0)));
});
export const useFailures = (): Table<FailureRow> => useTable(failures, "failures", 2);
export const useFindings = (): Table<FindingRow> => useTable(findings, "findings", 2);
export const useLogs = (): Table<LogRow> => useTable(logs, "logs", 2);

export function workersHere(): WorkerRow[] {
  return workers.list().filter((worker) => worker.removed === 0);
}
