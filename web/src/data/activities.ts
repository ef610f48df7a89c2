// What the workers' time went into: stock's fine performance metrics, as bars of functions made of activities. Pure.
export interface ActivityRow {
  context: string;
  function: string;
  activity: string;
  unit: string;
  total: number;
}

export interface ActivityBar {
  name: string;
  total: number;
  parts: { activity: string; total: number }[]; // in the order of `activities`
}

export interface ActivityTable {
  bars: ActivityBar[]; // the largest first
  activities: { activity: string; total: number }[]; // the largest first
}

// What stands in docs of Fine Performance Metrics, as short as a tooltip.
export const MEANS: Record<string, string> = {
  "thread-cpu": "the task's thread computed",
  "thread-noncpu": "the task's thread waited: for I/O, locks, the GIL, C code without it",
  executor: "the worker waited for a thread or a process to take the task and to give its result back",
  deserialize: "unpickling the task and its inputs",
  serialize: "pickling results",
  compress: "compressing what is sent or spilled",
  decompress: "decompressing what came or was spilled",
  "disk-read": "reading spilled inputs back",
  "disk-write": "spilling to make room",
  "memory-read": "inputs that were in memory",
  network: "waiting for other workers, and for the network",
  busy: "the other worker was busy",
  other: "not measured more closely",
  offload: "waiting for a thread that serializes",
  failed: "runs that failed",
  cancelled: "runs whose result nobody wanted any more",
};

// Those of tasks have a function; what workers do beside them stands under the name of that.
const CONTEXTS: Record<string, string> = {
  "get-data": "(sending results)",
  "gather-dep": "(fetching inputs)",
  "memory-monitor": "(making room in memory)",
  p2p: "(shuffling)",
};

export const units = (rows: readonly ActivityRow[]): string[] => {
  const found = [...new Set(rows.map((row) => row.unit))].sort();
  return found.includes("seconds") ? ["seconds", ...found.filter((unit) => unit !== "seconds")] : found;
};

export function activityTable(rows: readonly ActivityRow[], unit: string, fn?: string): ActivityTable {
  const bars = new Map<string, Map<string, number>>();
  const sums = new Map<string, number>();
  for (const row of rows) {
    const name = row.context === "execute" ? row.function : (CONTEXTS[row.context] ?? `(${row.context})`);
    if (row.unit !== unit || row.total <= 0 || (fn !== undefined && name !== fn)) {
      continue;
    }
    const bar = bars.get(name) ?? new Map<string, number>();
    bars.set(name, bar.set(row.activity, (bar.get(row.activity) ?? 0) + row.total));
    sums.set(row.activity, (sums.get(row.activity) ?? 0) + row.total);
  }
  const activities = [...sums].map(([activity, total]) => ({ activity, total })).sort((one, other) => other.total - one.total);
  const list = [...bars].map(([name, bar]) => ({
    name,
    total: [...bar.values()].reduce((sum, one) => sum + one, 0),
    parts: activities.filter(({ activity }) => bar.has(activity)).map(({ activity }) => ({ activity, total: bar.get(activity) as number })),
  }));
  return { bars: list.sort((one, other) => other.total - one.total), activities };
}
