// Prefixes: the groups of the same name, added up, the busiest first.
import type { Counts } from "../parts/common";
import { groups, type GroupRow } from "./tables";

export interface PrefixRow extends Counts {
  prefix: string;
  groups: number;
  size: number;
  done: number;
  runs: number;
  failures: number;
  seconds: number;
  nbytes: number;
  start: number;
  stop: number;
}

const ADDED = ["released", "waiting", "noWorker", "queued", "processing", "memory", "erred", "size", "runs", "failures", "nbytes"] as const;

function fresh(prefix: string): PrefixRow {
  return {
    prefix, groups: 0, done: 0, seconds: 0, start: Infinity, stop: -Infinity, released: 0, waiting: 0, noWorker: 0,
    queued: 0, processing: 0, memory: 0, erred: 0, size: 0, runs: 0, failures: 0, nbytes: 0,
  };
}

function add(sum: PrefixRow, group: GroupRow): void {
  for (const name of ADDED) {
    sum[name] += Number.isFinite(group[name]) ? group[name] : 0;
  }
  sum.groups++;
  sum.seconds += group.duration;
  sum.done += group.memory + group.erred + Math.min(group.released, group.runs);
  sum.start = group.start > 0 ? Math.min(sum.start, group.start) : sum.start;
  sum.stop = group.stop > 0 ? Math.max(sum.stop, group.stop) : sum.stop;
}

export function prefixes(): PrefixRow[] {
  const sums = new Map<string, PrefixRow>();
  for (const group of groups.list()) {
    let sum = sums.get(group.prefix);
    if (sum === undefined) {
      sum = fresh(group.prefix);
      sums.set(group.prefix, sum);
    }
    add(sum, group);
  }
  return [...sums.values()].sort((one, other) => other.seconds - one.seconds || other.runs - one.runs);
}

// Seconds until a prefix is done, as fast as it has been so far; NaN when nothing says.
export function remaining(row: PrefixRow, now: number): number {
  const left = row.waiting + row.queued + row.processing + row.noWorker;
  const took = Math.max(now, row.stop) - row.start;
  return left > 0 && row.runs > 0 && took > 0 ? (left * took) / row.runs : NaN;
}
