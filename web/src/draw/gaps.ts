// Where a lane did nothing, and why, as far as it can be known: from what its worker was, what it waited for next, and
// how much work the cluster had just then. Pure.
import { duration } from "../base/format";
import type { Runs, Span } from "./timeline";

// What the cluster was, second by second, and workers as they changed.
export interface Facts {
  time: readonly number[];
  processing: readonly number[];
  queued: readonly number[];
  threads: number;
  statuses: readonly { time: number; worker: number; status: string }[]; // the newest first
}

export interface Gap extends Span {
  worker: number;
}

const NO_FACTS: Facts = { time: [], processing: [], queued: [], threads: 0, statuses: [] };

const KNOWN_SECONDS = 6;

// When a run took the lane: with the time in which its inputs came and were unpickled.
export const beginOf = (runs: Runs, index: number): number => runs.start[index] - runs.transfer[index] - runs.other[index];

// Of one lane, within the window, in order. Where nothing follows, nothing is known yet: the last gap is open.
export function gapsOf(runs: Runs, worker: number, lane: number, span: Span, least: number): Gap[] {
  const mine: number[] = [];
  for (let index = 0; index < runs.size; index++) {
    if (runs.worker[index] === worker && runs.lane[index] === lane && runs.start[index] + runs.duration[index] >= span.since && beginOf(runs, index) <= span.until) {
      mine.push(index);
    }
  }
  mine.sort((one, other) => beginOf(runs, one) - beginOf(runs, other));
  const gaps: Gap[] = [];
  let end = span.since;
  for (const index of mine) {
    const begin = beginOf(runs, index);
    if (begin - end >= least) {
      gaps.push({ worker, since: end, until: begin });
    }
    end = Math.max(end, runs.start[index] + runs.duration[index]);
  }
  return gaps;
}

function statusAt(facts: Facts, worker: number, time: number): string | undefined {
  return facts.statuses.find((one) => one.worker === worker && one.time <= time)?.status;
}

function valueAt(facts: Facts, values: readonly number[], time: number): number {
  let low = 0;
  let high = facts.time.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if (facts.time[middle] <= time) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  // While nobody looked, only every few seconds are known.
  let known = low - 1;
  while (known >= 0 && !Number.isFinite(values[known]) && time - facts.time[known] <= KNOWN_SECONDS) {
    known--;
  }
  return known >= 0 && time - facts.time[known] <= KNOWN_SECONDS ? values[known] : NaN;
}

const WORDS: Record<string, string> = { paused: "paused", closing_gracefully: "retiring", closing: "closing" };

export function reasonOf(gap: Gap, facts: Facts = NO_FACTS): string {
  const middle = (gap.since + gap.until) / 2;
  const status = WORDS[statusAt(facts, gap.worker, middle) ?? ""];
  if (status !== undefined) {
    return status;
  }
  const processing = valueAt(facts, facts.processing, middle);
  const queued = valueAt(facts, facts.queued, middle);
  if (!Number.isFinite(processing)) {
    return "idle";
  }
  if (queued > 0) {
    return "work was queued";
  }
  return processing === 0 ? "no work" : processing < facts.threads ? "no task was ready" : "tasks were elsewhere";
}

export const says = (gap: Gap, facts?: Facts): string => `${reasonOf(gap, facts)} · ${duration(gap.until - gap.since)}`;

// The run before (by −1) or after (by 1) another in its lane.
export function neighbour(runs: Runs, from: number, by: number): number | undefined {
  let best: number | undefined;
  for (let index = 0; index < runs.size; index++) {
    const ahead = (runs.start[index] - runs.start[from]) * by;
    const same = runs.worker[index] === runs.worker[from] && runs.lane[index] === runs.lane[from] && index !== from;
    if (same && ahead > 0 && (best === undefined || ahead < (runs.start[best] - runs.start[from]) * by)) {
      best = index;
    }
  }
  return best;
}
