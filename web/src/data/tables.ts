// What the live channels said, as rows by their id, and as signals that pages look at.
import { effect, signal, type ReadonlySignal } from "@preact/signals";
import { useEffect } from "preact/hooks";
import { assignColors } from "../base/palette";
import type { Row } from "../wire/channels";
import { Mode } from "../wire/frame";
import { live, type Batch, type Wish } from "../wire/live";

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

// Rows by the first column, which is each channel's id. `most` bounds those that only grow.
export class Table<T> {
  readonly rows = new Map<number, T>();
  private readonly changed = signal(0);
  readonly version: ReadonlySignal<number> = this.changed;
  time = 0;
  loaded = false;

  constructor(private readonly key: keyof T & string, private readonly most = Infinity) {}

  apply(batch: Batch): void {
    if (batch.mode === Mode.Replace) {
      this.rows.clear();
    }
    for (const row of batch.rows as Row[]) {
      this.rows.set(row[this.key] as number, row as T);
    }
    for (const id of this.rows.keys()) {
      if (this.rows.size <= this.most) {
        break;
      }
      this.rows.delete(id);
    }
    this.time = batch.time;
    this.loaded = true;
    this.changed.value++;
  }

  // The rows now; whoever calls this while rendering is rendered again when they change.
  list(): T[] {
    void this.changed.value;
    return [...this.rows.values()];
  }
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

export const useWorkers = (): Table<WorkerRow> => useTable(workers, "workers", 2);
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
