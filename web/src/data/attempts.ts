// The attempts of one task, of what three tell of them: runs that the scheduler heard of, records that workers still
// have, and those that were kept when it failed for good. Pure.
import type { Json } from "../wire/channels";

export interface Attempt {
  status: string;
  worker?: number; // the dashboard's number of it
  address?: string;
  start: number; // seconds since the epoch
  duration?: number;
  transfer?: number;
  cpu?: number;
  peak?: number;
  growth?: number;
  read?: number;
  written?: number;
  output?: string; // the end of it
}

const ATTEMPTS_MOST = 12; // beside each other
const SAME = 0.05; // seconds: clocks of scheduler and worker agree to within that

const known = (value: unknown): number | undefined => (typeof value === "number" ? value : undefined);

function ofRecord(record: Json, address: string | undefined, worker: number | undefined): Attempt {
  const cpu = known(record.cpu_user) === undefined ? undefined : record.cpu_user + record.cpu_system;
  const running = record.status === "running";
  return {
    status: record.status ?? "?", address, worker, start: record.start, duration: record.stop - record.start,
    cpu: running ? undefined : cpu, peak: running ? undefined : known(record.rss_peak), growth: known(record.rss_growth),
    read: running ? undefined : known(record.read_bytes), written: known(record.written_bytes), output: typeof record.output === "string" ? record.output : undefined,
  };
}

// `told`: {address: [record, …]}, as `attempts` answers; `given` as the inputs of the task.
export function attemptsOf(runs: readonly Json[], told: Json, given: Json | null, idOf: (address: string) => number | undefined): Attempt[] {
  const attempts: Attempt[] = [];
  const twinOf = (run: Json) => attempts.find((one) => one.worker === run.worker && Math.abs(one.start - run.start) < SAME && Math.abs((one.duration ?? 0) - run.duration) < SAME);
  for (const [address, records] of Object.entries(told as Record<string, Json[]>)) {
    records.forEach((record) => attempts.push(ofRecord(record, address, idOf(address))));
  }
  if (attempts.length === 0) {
    const address: string | undefined = given?.worker ?? undefined;
    (given?.attempts ?? []).forEach((record: Json) => attempts.push(ofRecord(record, address, address === undefined ? undefined : idOf(address))));
  }
  for (const run of runs) {
    const twin = twinOf(run);
    if (twin === undefined) {
      attempts.push({ status: run.status, worker: run.worker, start: run.start, duration: run.duration, transfer: run.transfer });
    } else {
      twin.transfer = run.transfer;
    }
  }
  return attempts.sort((one, other) => one.start - other.start).slice(-ATTEMPTS_MOST);
}
