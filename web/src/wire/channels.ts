// The channels of api/cask/v1/live: the names of their columns by number, and how the same rows are found in JSON when
// WebSockets do not get through. docs/observer.md is the other side of this table.
import type { Frame } from "./frame";

export type Value = number | string;
export type Row = Record<string, Value>;
// What api/cask/v1 answers. Its shape is the contract's; what is missing shows as unknown.
// eslint-disable-next-line @typescript-eslint/no-explicit-any
export type Json = any;

export interface Channel {
  name: string;
  columns: readonly string[];
  path: string; // of the JSON
  rows(json: Json): Row[];
}

const nothing = (value: unknown): number => (typeof value === "number" ? value : NaN);

function summaryRows(json: Json): Row[] {
  const states: Record<string, number> = { running: 0, ended: 1, died: 2 };
  const { scheduler, workers, tasks, rate, memory, loop, ring } = json;
  return [
    {
      state: states[scheduler.state] ?? 0, workers: workers.total, threads: workers.threads, idle: workers.idle,
      saturated: workers.saturated, paused: workers.paused, retiring: workers.retiring, clients: json.clients,
      released: tasks.released, waiting: tasks.waiting, noWorker: tasks["no-worker"], queued: tasks.queued,
      processing: tasks.processing, memory: tasks.memory, erred: tasks.erred, runs: json.runs, failures: json.failures,
      runRate: rate.runs, failureRate: rate.failures, transferRate: rate.transfers, occupancy: json.occupancy,
      limit: nothing(json.memory_limit), process: memory.process, managed: memory.managed, unmanagedOld: memory.unmanaged_old,
      unmanagedRecent: memory.unmanaged_recent, spilled: memory.spilled, longestTurn: loop.longest, loopBusy: loop.busy,
      dropped: ring.dropped, threadsBusy: nothing(workers.busy), reason: scheduler.reason ?? "", graphs: json.graphs,
      desired: nothing(workers.desired),
    },
  ];
}

function workerRows(json: Json): Row[] {
  return json.workers.map((worker: Json) => ({
    id: worker.id, status: worker.status, name: String(worker.name), address: worker.address, nthreads: worker.nthreads,
    limit: nothing(worker.memory_limit), process: nothing(worker.memory?.process), managed: nothing(worker.memory?.managed),
    unmanagedOld: nothing(worker.memory?.unmanaged_old), unmanagedRecent: nothing(worker.memory?.unmanaged_recent),
    spilled: nothing(worker.memory?.spilled), cpu: nothing(worker.cpu), processing: worker.processing,
    executing: worker.executing, hasWhat: worker.has_what, occupancy: nothing(worker.occupancy),
    netRead: nothing(worker.net_read), netWrite: nothing(worker.net_write), diskRead: nothing(worker.disk_read),
    diskWrite: nothing(worker.disk_write), fds: nothing(worker.fds), lastSeen: nothing(worker.last_seen),
    runs: worker.runs, failures: worker.failures, busy: nothing(worker.busy), removed: worker.removed ?? 0,
  }));
}

function groupRows(json: Json): Row[] {
  return json.groups.map((group: Json) => ({
    id: group.id, name: group.name, prefix: group.prefix, size: group.size, released: group.states.released ?? 0,
    waiting: group.states.waiting ?? 0, noWorker: group.states["no-worker"] ?? 0, queued: group.states.queued ?? 0,
    processing: group.states.processing ?? 0, memory: group.states.memory ?? 0, erred: group.states.erred ?? 0,
    forgotten: group.states.forgotten ?? 0, runs: group.runs, failures: group.failures,
    duration: group.duration?.total ?? 0, nbytes: nothing(group.nbytes), start: nothing(group.start), stop: nothing(group.stop),
  }));
}

const LEVELS: Record<string, number> = { DEBUG: 10, INFO: 20, WARNING: 30, ERROR: 40, CRITICAL: 50 };

function findingRow({ worker, keys, memory, ...row }: Json): Row {
  return { ...row, severity: SEVERITIES.indexOf(row.severity), active: row.active ? 1 : 0, detail: JSON.stringify({ worker, keys, memory }) };
}

// By number, as frames have them.
export const SEVERITIES = ["note", "warning", "error"];
export const CAUSES = ["user", "killed-worker", "memory", "actor-lost", "no-worker", "no-valid-worker", "text"];

export const CHANNELS: Record<number, Channel> = {
  1: {
    name: "summary",
    columns: [
      "state", "workers", "threads", "idle", "saturated", "paused", "retiring", "clients", "released", "waiting",
      "noWorker", "queued", "processing", "memory", "erred", "runs", "failures", "runRate", "failureRate",
      "transferRate", "occupancy", "limit", "process", "managed", "unmanagedOld", "unmanagedRecent", "spilled",
      "longestTurn", "loopBusy", "dropped", "threadsBusy", "reason", "graphs", "desired",
    ],
    path: "summary",
    rows: summaryRows,
  },
  2: {
    name: "workers",
    columns: [
      "id", "status", "name", "address", "nthreads", "limit", "process", "managed", "unmanagedOld", "unmanagedRecent",
      "spilled", "cpu", "processing", "executing", "hasWhat", "occupancy", "netRead", "netWrite", "diskRead",
      "diskWrite", "fds", "lastSeen", "runs", "failures", "busy", "removed",
    ],
    path: "workers?gone=1&limit=1000",
    rows: workerRows,
  },
  3: {
    name: "groups",
    columns: [
      "id", "name", "prefix", "size", "released", "waiting", "noWorker", "queued", "processing", "memory", "erred",
      "forgotten", "runs", "failures", "duration", "nbytes", "start", "stop",
    ],
    path: "groups?limit=1000",
    rows: groupRows,
  },
  4: {
    name: "stream",
    columns: ["n", "worker", "lane", "group", "start", "duration", "transfer", "deserialize", "disk", "status", "key"],
    path: "runs?limit=1000",
    rows: (json) => json.runs.map((run: Json) => ({ ...run, status: run.status === "ok" ? 0 : 1 })).reverse(),
  },
  5: {
    name: "failures",
    columns: ["id", "prefix", "type", "message", "where", "count", "first", "last", "cause"],
    path: "failures?limit=1000",
    rows: (json) => json.failures.map((row: Json) => ({ ...row, cause: CAUSES.indexOf(row.cause) })),
  },
  6: {
    name: "logs",
    columns: ["n", "time", "level", "logger", "text"],
    path: "logs?limit=200",
    rows: (json) => json.logs.map((line: Json) => ({ ...line, level: LEVELS[line.level] ?? 20 })).reverse(),
  },
  7: {
    name: "findings",
    columns: ["id", "kind", "severity", "sentence", "advice", "link", "count", "first", "last", "active", "detail"],
    path: "findings",
    rows: (json) => json.findings.map(findingRow),
  },
};

export function channelNamed(name: string): number {
  for (const [number, channel] of Object.entries(CHANNELS)) {
    if (channel.name === name) {
      return Number(number);
    }
  }
  throw new Error(`no channel is called ${name}`);
}

// The rows of a frame as objects; columns that the table lacks are left out.
export function rowsOf(frame: Frame): Row[] {
  const channel = CHANNELS[frame.channel];
  const rows: Row[] = Array.from({ length: frame.rows }, () => ({}));
  for (const [number, column] of frame.columns) {
    const name = channel?.columns[number];
    if (name !== undefined) {
      for (let row = 0; row < frame.rows; row++) {
        rows[row][name] = column[row];
      }
    }
  }
  return rows;
}
