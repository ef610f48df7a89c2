// Two runs, prefix by prefix: where the difference comes from. A prefix's time is what its tasks computed and waited for
// inputs; of the difference, what more (or fewer) tasks make, at the earlier run's mean, and what slower (or faster) ones
// make, add up. As `cask history compare` has it. Pure.
import { count, duration, percent } from "../base/format";
import type { Json } from "../wire/channels";

export interface Figures {
  runs: number;
  failures: number;
  compute: number;
  transfer: number;
  p50: number;
  p90: number;
  p99: number;
}

export interface Difference {
  prefix: string;
  earlier: Figures;
  later: Figures;
  byCount: number;
  bySpeed: number;
  byTransfer: number;
  all: number;
  cause: string;
}

const NOTHING: Figures = { runs: 0, failures: 0, compute: 0, transfer: 0, p50: NaN, p90: NaN, p99: NaN };

function figures(row: Json): Figures {
  const { total, p50, p90, p99 } = row.duration;
  return { runs: row.runs, failures: row.failures, compute: total ?? 0, transfer: row.transfer ?? 0, p50: p50 ?? NaN, p90: p90 ?? NaN, p99: p99 ?? NaN };
}

const mean = (one: Figures): number => (one.runs > 0 ? one.compute / one.runs : 0);

function causeOf(one: Difference): string {
  const [byCount, bySpeed, byTransfer] = [one.byCount, one.bySpeed, one.byTransfer].map(Math.abs);
  if (one.earlier.runs === 0 || one.later.runs === 0) {
    return one.earlier.runs === 0 ? "new" : "gone";
  }
  if (byCount + bySpeed + byTransfer < 1e-6) {
    return "as before";
  }
  if (byTransfer >= byCount && byTransfer >= bySpeed) {
    return one.byTransfer > 0 ? "waits longer for inputs" : "waits less for inputs";
  }
  if (byCount >= bySpeed) {
    return one.byCount > 0 ? "more tasks" : "fewer tasks";
  }
  return one.bySpeed > 0 ? "each takes longer" : "each is faster";
}

function differenceOf(prefix: string, earlier: Figures, later: Figures): Difference {
  const byCount = (later.runs - earlier.runs) * (earlier.runs > 0 ? mean(earlier) : mean(later));
  const bySpeed = later.compute - earlier.compute - byCount;
  const byTransfer = later.transfer - earlier.transfer;
  const one = { prefix, earlier, later, byCount, bySpeed, byTransfer, all: byCount + bySpeed + byTransfer, cause: "" };
  return { ...one, cause: causeOf(one) };
}

// Of what GET prefixes answers for each run; the largest difference first.
export function compare(earlier: readonly Json[], later: readonly Json[]): Difference[] {
  const before = new Map(earlier.map((row) => [row.name as string, figures(row)]));
  const after = new Map(later.map((row) => [row.name as string, figures(row)]));
  return [...new Set([...before.keys(), ...after.keys()])]
    .map((name) => differenceOf(name, before.get(name) ?? NOTHING, after.get(name) ?? NOTHING))
    .filter((one) => one.earlier.runs + one.later.runs > 0)
    .sort((one, other) => Math.abs(other.all) - Math.abs(one.all) || (one.prefix < other.prefix ? -1 : 1));
}

export function together(list: readonly Difference[], side: "earlier" | "later"): Figures {
  return list.reduce(
    (sum, one) => ({ ...sum, runs: sum.runs + one[side].runs, failures: sum.failures + one[side].failures, compute: sum.compute + one[side].compute, transfer: sum.transfer + one[side].transfer }),
    NOTHING,
  );
}

export const signed = (seconds: number): string => `${seconds < 0 ? "−" : "+"}${duration(Math.abs(seconds))}`;

function because({ prefix, earlier, later, byTransfer, all, cause }: Difference): string {
  const reasons: Record<string, string> = {
    new: `${prefix} is new`,
    gone: `${prefix} is gone`,
    "more tasks": `${prefix} ran ${count(later.runs - earlier.runs)} more tasks`,
    "fewer tasks": `${prefix} ran ${count(earlier.runs - later.runs)} fewer tasks`,
    "each takes longer": `each ${prefix} took ${(mean(later) / mean(earlier)).toFixed(2)} times as long`,
    "each is faster": `each ${prefix} took only ${percent(mean(later) / mean(earlier))} of the time`,
    "waits longer for inputs": `${prefix} waited ${duration(byTransfer)} longer for inputs`,
    "waits less for inputs": `${prefix} waited ${duration(-byTransfer)} less for inputs`,
  };
  return `${reasons[cause] ?? prefix} (${signed(all)})`;
}

const SAME = 0.05; // of the time: less is nothing to explain
const NAMED = 3;

// Why the later one was slower, or faster, in a sentence.
export function sentence(list: readonly Difference[]): string {
  const before = together(list, "earlier");
  const after = together(list, "later");
  const [was, is] = [before.compute + before.transfer, after.compute + after.transfer];
  if (was + is === 0) {
    return "No task ran in either of them.";
  }
  if (was === 0 || is === 0) {
    return `In the ${was === 0 ? "earlier" : "later"} one no task ran.`;
  }
  const change = is - was;
  const size = `${duration(is)} of work after ${duration(was)}`;
  if (Math.abs(change) < SAME * was) {
    return `They took the same time, within ${percent(SAME)}: ${size}.`;
  }
  // What made it worse explains why it is slower; what made up for some of that does not.
  const parts = list.filter((one) => one.all * change > 0 && Math.abs(one.all) >= 0.1 * Math.abs(change)).slice(0, NAMED);
  const reasons = parts.map(because).join("; ");
  return `The later one did ${percent(Math.abs(change) / was)} ${change > 0 ? "more" : "less"}, ${size}: ${reasons}.`;
}
