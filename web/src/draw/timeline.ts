// The arithmetic of the task stream: windows of time, ticks, lanes, and how much detail a pixel can carry. Pure.
import { byName } from "../base/format";

export interface Span {
  since: number;
  until: number;
}

const NARROWEST = 1e-6;
const WIDEST = 14 * 86400;

// Zoom by `factor` (below 1: in) around the moment `at`, which stays where it is.
export function zoom(span: Span, at: number, factor: number): Span {
  const width = span.until - span.since;
  const scaled = Math.min(Math.max(width * factor, NARROWEST), WIDEST) / width;
  return { since: at - (at - span.since) * scaled, until: at + (span.until - at) * scaled };
}

export function pan(span: Span, seconds: number): Span {
  return { since: span.since + seconds, until: span.until + seconds };
}

const STEPS = [1, 2, 5];
const CLOCK_STEPS = [10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 21600, 43200, 86400];

// A round number of seconds between ticks, so that no more than `most` are seen.
export function tickStep(width: number, most: number): number {
  const least = width / Math.max(most, 1);
  const clock = CLOCK_STEPS.find((step) => step >= least);
  if (least > 5 && clock !== undefined) {
    return clock;
  }
  const power = 10 ** Math.floor(Math.log10(least));
  const step = STEPS.find((one) => one * power >= least * (1 - 1e-9));
  return step === undefined ? 10 * power : step * power;
}

export function ticks(span: Span, most: number): number[] {
  const step = tickStep(span.until - span.since, most);
  const out: number[] = [];
  for (let index = Math.ceil(span.since / step); index * step <= span.until; index++) {
    out.push(index * step);
  }
  return out;
}

export type LaneKind = "thread" | "worker" | "host";

export interface LaneWorker {
  id: number;
  name: string;
  host: string;
  nthreads: number;
}

export interface Lane {
  kind: LaneKind;
  worker: number; // of a host: 0
  thread: number; // -1: all of them
  name: string;
  host: string;
  first: boolean; // of its worker
}

// A lane a thread where that leaves each LANE_LEAST pixels; else one a worker, down to WORKER_LEAST; else one a host, and
// below those that are open their workers. Where every worker has a host of its own there is nothing to gather.
export const LANE_LEAST = 4;
export const WORKER_LEAST = 2;

export const hostOf = (address: string): string => /^(?:\w+:\/\/)?(.*):\d+$/.exec(address)?.[1] ?? address;

const workerLane = ({ id, name, host }: LaneWorker): Lane => ({ kind: "worker", worker: id, thread: -1, name, host, first: true });

export function lanesOf(workers: readonly LaneWorker[], height: number, open: ReadonlySet<string> = new Set()): Lane[] {
  const hosts = new Set(workers.map((worker) => worker.host));
  const gathers = hosts.size < workers.length;
  const sorted = [...workers].sort((one, other) => (gathers && byName(one.host, other.host)) || byName(one.name, other.name));
  const threads = sorted.reduce((sum, worker) => sum + worker.nthreads, 0);
  if (threads * LANE_LEAST <= height) {
    return sorted.flatMap(({ id, name, host, nthreads }) =>
      Array.from({ length: nthreads }, (_, thread): Lane => ({ kind: "thread", worker: id, thread, name, host, first: thread === 0 })),
    );
  }
  if (!gathers || sorted.length * WORKER_LEAST <= height) {
    return sorted.map(workerLane);
  }
  return [...hosts].sort(byName).flatMap((host): Lane[] => {
    const its = sorted.filter((worker) => worker.host === host);
    const head: Lane = { kind: "host", worker: 0, thread: -1, name: `${open.has(host) ? "▾" : "▸"} ${host} (${its.length})`, host, first: true };
    return open.has(host) ? [head, ...its.map(workerLane)] : [head];
  });
}

export type LanePlace = (worker: number, thread: number, host?: string) => number;

export function laneIndex(lanes: readonly Lane[]): LanePlace {
  const places = new Map<string, number>();
  lanes.forEach((lane, index) => places.set(lane.kind === "host" ? `host ${lane.host}` : `${lane.worker}/${lane.thread}`, index));
  return (worker, thread, host) => (host === undefined ? places.get(`${worker}/${thread}`) ?? places.get(`${worker}/-1`) : places.get(`host ${host}`)) ?? -1;
}

// Runs as columns. When full, the oldest go.
export class Runs {
  readonly n: Float64Array;
  readonly worker: Uint32Array;
  readonly lane: Uint32Array;
  readonly group: Uint32Array;
  readonly start: Float64Array;
  readonly duration: Float32Array;
  readonly transfer: Float32Array;
  readonly other: Float32Array; // deserialize and disk
  readonly failed: Uint8Array;
  size = 0;
  private next = 0;

  constructor(readonly capacity: number) {
    this.n = new Float64Array(capacity);
    this.worker = new Uint32Array(capacity);
    this.lane = new Uint32Array(capacity);
    this.group = new Uint32Array(capacity);
    this.start = new Float64Array(capacity);
    this.duration = new Float32Array(capacity);
    this.transfer = new Float32Array(capacity);
    this.other = new Float32Array(capacity);
    this.failed = new Uint8Array(capacity);
  }

  clear(): void {
    this.size = this.next = 0;
  }

  add(row: Record<string, number | string>): void {
    const at = this.next;
    this.n[at] = row.n as number;
    this.worker[at] = row.worker as number;
    this.lane[at] = row.lane as number;
    this.group[at] = row.group as number;
    this.start[at] = row.start as number;
    this.duration[at] = row.duration as number;
    this.transfer[at] = row.transfer as number;
    this.other[at] = (row.deserialize as number) + (row.disk as number);
    this.failed[at] = row.status === 0 || row.status === "ok" ? 0 : 1;
    this.next = (at + 1) % this.capacity;
    this.size = Math.min(this.size + 1, this.capacity);
  }

  // Of all that are here, the earliest start; Infinity when there are none.
  earliest(): number {
    let least = Infinity;
    for (let index = 0; index < this.size; index++) {
      least = Math.min(least, this.start[index]);
    }
    return least;
  }
}

// The task stream in buckets, as GET stream gives it.
export interface Strip {
  name: string;
  host?: string; // of all of whose workers it tells
  worker: number;
  lane: number; // the thread's place in its worker
  nthreads: number;
  busy: number[];
  transfer: number[];
  disk: number[];
  deserialize: number[];
  failed: number[];
  runs: number[];
  top: number[]; // numbers of prefixes
  top_share: number[];
}

export interface Strips extends Span {
  buckets: number;
  prefixes: Record<string, string>; // of `top`
  lanes: Strip[];
}
