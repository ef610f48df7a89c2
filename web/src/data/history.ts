// The last minutes of the cluster's numbers, a value a second: what the observer remembers, then what comes live.
import { effect, signal, untracked } from "@preact/signals";
import { get } from "../wire/api";
import { now, summary, type Summary } from "./tables";

export const SECONDS = 300;
const FIELDS = {
  runs: "runRate", failures: "failureRate", transfers: "transferRate", processing: "processing", queued: "queued",
  memory_process: "process", managed: "managed", spilled: "spilled", workers: "workers", threads_busy: "threadsBusy",
  loop_longest: "longestTurn",
} as const;
export type Field = keyof typeof FIELDS;

export interface History {
  time: number[];
  values: Record<Field, number[]>;
}

const names = Object.keys(FIELDS) as Field[];
const empty = (): History => ({ time: [], values: Object.fromEntries(names.map((name) => [name, []])) as unknown as Record<Field, number[]> });
export const history = signal<History>(empty());

function append(row: Summary, time: number): void {
  const before = history.peek();
  if (before.time.length > 0 && time - before.time[before.time.length - 1] < 0.9) {
    return;
  }
  const from = Math.max(0, before.time.length + 1 - SECONDS);
  const values = { ...before.values };
  for (const name of names) {
    values[name] = [...before.values[name].slice(from), row[FIELDS[name]] ?? NaN];
  }
  history.value = { time: [...before.time.slice(from), time], values };
}

let started = false;

// Begins with the first page that shows it.
export function startHistory(): void {
  if (started) {
    return;
  }
  started = true;
  let asked = false;
  effect(() => {
    const row = summary.value;
    const time = now.value;
    if (row === undefined || time === 0) {
      return;
    }
    append(row, time);
    if (!asked) {
      asked = true;
      untracked(() => void remember(time));
    }
  });
}

// What was before the page came: by the cluster's clock, which may differ from this machine's.
async function remember(time: number): Promise<void> {
  try {
    const json = await get("series", { step: 1, since: Math.floor(time) - SECONDS });
    const live = history.peek();
    const until = live.time[0] ?? Infinity;
    const keep = (json.time as number[]).filter((one) => one < until).length;
    const values = empty().values;
    for (const name of names) {
      const before = (json[name] as number[] | undefined) ?? new Array<number>(keep).fill(NaN);
      values[name] = [...before.slice(0, keep), ...live.values[name]];
    }
    history.value = { time: [...(json.time as number[]).slice(0, keep), ...live.time], values };
  } catch (error) {
    console.warn("series:", (error as Error).message); // then the lines begin now
  }
}
