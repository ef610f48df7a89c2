// A report: the pages without a cluster. What they would ask for is in the file, as the observer answered when it was
// made; runs are columns, of which lists and pictures are made here.
import type { Json } from "./channels";

interface RunColumns {
  total: number;
  since: number; // µs
  start: number[]; // µs after the one before
  duration: number[]; // µs, as all that follow
  transfer: number[];
  deserialize: number[];
  disk: number[];
  worker: number[];
  lane: number[];
  group: number[];
  prefix: number[];
  erred: number[];
  key: string[]; // of a group's task: what follows the group's name
}

export interface Report {
  format: number;
  made: number;
  since: number;
  until: number;
  answers: Record<string, Json>; // by path and parameters
  runs: RunColumns;
}

let opened: Report | undefined;
let starts: Float64Array = new Float64Array(0); // seconds

export function openReport(report: Report): void {
  opened = report;
  starts = new Float64Array(report.runs.start.length);
  let at = report.runs.since;
  report.runs.start.forEach((step, index) => {
    at += step;
    starts[index] = at / 1e6;
  });
}

// The code that was measured, if the report is of some (performance_report).
export function measuredCode(): string | undefined {
  return opened === undefined ? undefined : JSON.parse(document.getElementById("code")?.textContent ?? "null") ?? undefined;
}

// Undefined: there is a cluster to ask.
export const report = (): Report | undefined => opened;

function answered(path: string): Json {
  const { answers } = opened as Report;
  return answers[path] ?? answers[Object.keys(answers).find((key) => key.split("?")[0] === path) ?? ""];
}

const names = new Map<string, Map<number, Json>>();
function named(list: "groups" | "prefixes", id: number): string {
  let byId = names.get(list);
  if (byId === undefined) {
    byId = new Map((answered(list)?.[list] ?? []).map((row: Json) => [row.id, row]));
    names.set(list, byId as Map<number, Json>);
  }
  return byId?.get(id)?.name ?? "";
}

function keyAt(index: number): string {
  const { runs } = opened as Report;
  const key = runs.key[index];
  const group = named("groups", runs.group[index]);
  return (key.startsWith(",") || key.startsWith(")")) && group !== "" ? `('${group}'${key}` : key || `(one of ${named("prefixes", runs.prefix[index])})`;
}

function runAt(index: number): Json {
  const { runs } = opened as Report;
  return {
    n: index, key: keyAt(index), group: runs.group[index], prefix: named("prefixes", runs.prefix[index]), worker: runs.worker[index], lane: runs.lane[index],
    thread: null, start: starts[index], duration: runs.duration[index] / 1e6, transfer: runs.transfer[index] / 1e6, deserialize: runs.deserialize[index] / 1e6,
    disk: runs.disk[index] / 1e6, nbytes: null, status: runs.erred[index] ? "error" : "ok",
  };
}

type Query = Record<string, string | number | undefined>;

// As GET runs: the newest first.
function runsOf(query: Query): Json {
  const { runs, until } = opened as Report;
  const limit = Number(query.limit ?? 100);
  const since = Number(query.since ?? -Infinity);
  const end = Number(query.until ?? Infinity);
  const found: Json[] = [];
  let index = Number(query.after ?? starts.length);
  while (index > 0 && found.length < limit) {
    index--;
    const fits = starts[index] + runs.duration[index] / 1e6 >= since && starts[index] <= end
      && (query.worker === undefined || runs.worker[index] === Number(query.worker))
      && (query.group === undefined || runs.group[index] === Number(query.group))
      && (query.prefix === undefined || named("prefixes", runs.prefix[index]) === query.prefix);
    if (fits) {
      found.push(runAt(index));
    }
  }
  return { at: until, runs: found, next: index > 0 ? String(index) : null };
}

const PARTS = ["busy", "transfer", "deserialize", "disk", "runs", "failed", "top", "top_share"] as const;

// As GET stream, of the runs that are here.
function streamOf(query: Query): Json {
  const { runs } = opened as Report;
  const since = Number(query.since);
  const until = Number(query.until);
  const buckets = Number(query.buckets ?? 400);
  const width = (until - since) / buckets;
  const threads = query.lanes !== "worker";
  const workers = new Map<number, Json>((answered("workers")?.workers ?? []).map((row: Json) => [row.id, row]));
  const lanes = new Map<string, Json>();
  const laneOf = (worker: number, lane: number): Json => {
    const name = `${worker} ${lane}`;
    let found = lanes.get(name);
    if (found === undefined) {
      const row = workers.get(worker);
      found = { name: row?.name ?? "", worker, lane, nthreads: threads ? 1 : row?.nthreads ?? 1 };
      PARTS.forEach((part) => (found[part] = new Array<number>(buckets).fill(0)));
      lanes.set(name, found);
    }
    return found;
  };
  const spread = (lane: Json, part: string, from: number, to: number) => {
    for (let at = Math.max(from, since); at < Math.min(to, until);) {
      const bucket = Math.min(Math.floor((at - since) / width), buckets - 1);
      const end = Math.min(since + (bucket + 1) * width, to, until);
      lane[part][bucket] += (end - at) / width / lane.nthreads;
      at = end > at ? end : to;
    }
  };
  for (let index = 0; index < starts.length; index++) {
    const start = starts[index];
    const stop = start + runs.duration[index] / 1e6;
    if (stop >= since && start <= until) {
      const lane = laneOf(runs.worker[index], threads ? runs.lane[index] : 0);
      const bucket = Math.min(Math.max(Math.floor((Math.min(stop, until) - since) / width), 0), buckets - 1);
      spread(lane, "busy", start, stop);
      spread(lane, "transfer", start - runs.transfer[index] / 1e6, start);
      lane.runs[bucket]++;
      lane.failed[bucket] += runs.erred[index];
      lane.top[bucket] = runs.prefix[index];
      lane.top_share[bucket] = 1;
    }
  }
  const tops = new Set([...lanes.values()].flatMap((lane) => lane.top as number[]));
  return { since, until, buckets, left_out: 0, prefixes: Object.fromEntries([...tops].map((id) => [id, named("prefixes", id)])), lanes: [...lanes.values()] };
}

function taskOf(query: Query): Json {
  const found: Json[] = [];
  for (let index = starts.length - 1; index >= 0 && found.length < 100; index--) {
    if (keyAt(index) === query.key) {
      found.push(runAt(index));
    }
  }
  const failures = (answered("failures")?.failures ?? []).filter((row: Json) => row.keys.includes(query.key)).map((row: Json) => row.id);
  const inputs = failures.map((id: number) => (opened as Report).answers[`failure?id=${id}`]?.inputs).find((given: Json | null | undefined) => given?.key === query.key) ?? null;
  return { at: (opened as Report).until, key: query.key, runs: found, prefix: found[0]?.prefix ?? null, failures, inputs, scheduler: null };
}

// What the observer would answer; undefined: it is not in the report.
export function answerOf(path: string, query: Query): Json | undefined {
  switch (path) {
    case "runs":
      return runsOf(query);
    case "stream": {
      // Of very many runs, pictures of the whole window; the longest ones are here one by one.
      const whole = answered("stream");
      return whole !== undefined && Number(query.until) - Number(query.since) > (whole.until - whole.since) / 20 ? whole : streamOf(query);
    }
    case "task":
      return taskOf(query);
    case "failure":
      return (opened as Report).answers[`failure?id=${query.id}`];
    default:
      return answered(path);
  }
}
