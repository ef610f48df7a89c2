// A cluster that never was: the same numbers at every call with the same time, so that pages can be held against them.
// It answers as api/cask/v1 does; docs/observer.md is the contract.
type Json = Record<string, unknown>;

export interface Scene {
  workers: number;
  threads: number; // of each
  tasks: number;
  failures: number; // equal ones; three others come on top
  began: number; // seconds since the epoch
}

export const EMPTY: Scene = { workers: 0, threads: 0, tasks: 0, failures: 0, began: 1_795_000_000 };
export const BUSY: Scene = { workers: 6, threads: 4, tasks: 3000, failures: 0, began: 1_795_000_000 };
export const FAILED: Scene = { ...BUSY, failures: 10_000 };
export const LARGE: Scene = { workers: 32, threads: 4, tasks: 100_000, failures: 0, began: 1_795_000_000 };

export interface Run {
  n: number; key: string; group: number; prefix: string; worker: number; thread: number; lane: number; start: number;
  duration: number; transfer: number; deserialize: number; disk: number; nbytes: number; type: string; status: string;
}

const GIB = 2 ** 30;
const PREFIXES = ["read-parquet", "getitem", "random_sample", "sum", "sum-agg", "rechunk-merge"];
const MEANS = [0.12, 0.02, 0.25, 0.06, 0.03, 0.09];

// A small generator of even numbers (mulberry32).
function random(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

const TOKEN = "9c5f20a1b3c4d5e6f708192a3b4c5d6e";
const TRACEBACK = `  File "/home/ada/analysis/clean.py", line 41, in clean
    return rows.map_partitions(fix, meta=meta)
  File "/usr/lib/python3/dist-packages/dask/utils.py", line 1234, in apply
    return func(*args, **kwargs)
  File "/home/ada/.venv/lib/python3.11/site-packages/toolz/functoolz.py", line 304, in __call__
    return self._partial(*args, **kwargs)
  File "/home/ada/analysis/clean.py", line 12, in inc
    return 1 / (x - x)
           ~~^~~~~~~~~
`;

export class Cluster {
  readonly runs: Run[] = [];
  // Nothing changes once it is made: what costs a walk over all runs is made once.
  private readonly made = new Map<string, unknown>();

  private once<T>(name: string, make: () => T): T {
    if (!this.made.has(name)) {
      this.made.set(name, make());
    }
    return this.made.get(name) as T;
  }

  constructor(readonly scene: Scene) {
    const next = random(7);
    const ends = new Float64Array(scene.workers * scene.threads).fill(scene.began);
    for (let n = 0; n < scene.tasks; n++) {
      const lane = n % ends.length;
      const kind = Math.floor((n / scene.tasks) * PREFIXES.length * 0.999 + next() * 0.8) % PREFIXES.length;
      const transfer = next() < 0.1 ? next() * 0.05 : 0;
      const start = ends[lane] + 0.001 + transfer + (next() < 0.01 ? next() : 0);
      const duration = MEANS[kind] * (0.4 + 1.2 * next());
      ends[lane] = start + duration;
      this.runs.push({
        n, key: `('${PREFIXES[kind]}-${TOKEN}', ${Math.floor(n / 64)}, ${n % 64})`, group: kind + 1, prefix: PREFIXES[kind],
        worker: 1 + Math.floor(lane / scene.threads), thread: lane % scene.threads, lane: lane % scene.threads, start, duration,
        transfer, deserialize: 0, disk: 0, nbytes: Math.round(next() * 8e6), type: "numpy.ndarray", status: next() < 0.004 && scene.failures > 0 ? "error" : "ok",
      });
    }
    this.runs.sort((one, other) => one.start + one.duration - other.start - other.duration);
    this.runs.forEach((run, n) => (run.n = n));
  }

  get end(): number {
    const last = this.runs[this.runs.length - 1];
    return last === undefined ? this.scene.began : last.start + last.duration;
  }

  private memory(share: number) {
    const limit = 4 * GIB;
    return {
      memory_limit: limit,
      memory: { process: share * limit, managed: 0.55 * share * limit, unmanaged_old: 0.3 * share * limit, unmanaged_recent: 0.15 * share * limit, spilled: share > 0.7 ? 0.2 * limit : 0 },
    };
  }

  // Many workers share hosts, twenty each.
  private host(index: number): string {
    return this.scene.workers > 100 ? `10.0.1.${Math.floor(index / 20) + 1}` : `10.0.0.${index + 2}`;
  }

  workers(): Json[] {
    return this.once("workers", () => this.makeWorkers());
  }

  private makeWorkers(): Json[] {
    return Array.from({ length: this.scene.workers }, (_, index) => {
      const mine = this.runs.filter((run) => run.worker === index + 1);
      return {
        id: index + 1, address: `tcp://${this.host(index)}:${40001 + (this.scene.workers > 100 ? index % 20 : 0)}`, name: `w${index}`, host: this.host(index),
        status: index === 2 ? "paused" : "running", nthreads: this.scene.threads, pid: 900 + index, added: this.scene.began,
        removed: null, reason: null, ...this.memory(0.3 + 0.09 * (index % 6)), cpu: 340 - 20 * (index % 6), processing: 6, executing: this.scene.threads,
        ready: 2, has_what: 230, fds: 40 + index, occupancy: 3.1, bandwidth: 1e8, net_read: 1.2e6 * index, net_write: 4e5, disk_read: 0, disk_write: 2e5 * index,
        last_seen: this.end - 0.2, time_delay: 0.0004, runs: mine.length, failures: mine.filter((run) => run.status !== "ok").length,
        busy: mine.reduce((sum, run) => sum + run.duration, 0), nanny: null, local_directory: "/tmp", dashboard: 38501 + index,
      };
    });
  }

  groups(): Json[] {
    return this.once("groups", () => this.makeGroups());
  }

  private makeGroups(): Json[] {
    return this.scene.tasks === 0 ? [] : PREFIXES.map((prefix, index) => {
      const mine = this.runs.filter((run) => run.group === index + 1);
      const took = mine.map((run) => run.duration).sort((one, other) => one - other);
      const at = (share: number) => took[Math.min(took.length - 1, Math.floor(share * took.length))] ?? null;
      const failed = mine.filter((run) => run.status !== "ok").length;
      const waiting = index === 5 ? 400 : 0;
      const queued = index === 4 ? 120 : 0;
      return {
        id: index + 1, name: `${prefix}-${TOKEN}`, prefix, size: mine.length + waiting + queued,
        states: { memory: mine.length - failed, erred: failed, waiting, queued, processing: 0, released: 0, "no-worker": 0, forgotten: 0 },
        runs: mine.length, failures: failed,
        duration: { total: took.reduce((sum, one) => sum + one, 0), mean: null, min: at(0), p50: at(0.5), p90: at(0.9), p99: at(0.99), max: at(1) },
        transfer: mine.reduce((sum, run) => sum + run.transfer, 0), nbytes: mine.reduce((sum, run) => sum + run.nbytes, 0),
        start: mine.reduce((least, run) => Math.min(least, run.start), Infinity), stop: mine.reduce((most, run) => Math.max(most, run.start + run.duration), 0),
        depends_on: [[], [1], [1], [2, 3], [4], [3, 5]][index],
      };
    });
  }

  failures(): Json[] {
    if (this.scene.failures === 0) {
      return [];
    }
    const keys = this.runs.filter((run) => run.status !== "ok").map((run) => run.key).slice(0, 5);
    const common = { workers: [1, 2], keys: ["inc-1", ...keys], first: this.scene.began + 3, last: this.end };
    return [
      { id: 1, prefix: "inc", type: "ZeroDivisionError", message: "division by zero", where: "clean.py:12 in inc", count: this.scene.failures, cause: "user", ...common },
      { id: 2, prefix: "read-parquet", type: "FileNotFoundError", message: "[Errno 2] No such file or directory: '/data/part.17.parquet'", where: "io.py:88 in read", count: 3, cause: "user", ...common },
      { id: 3, prefix: "sum", type: "KilledWorker", message: "Attempted to run task ('sum-9c5f', 3) on 4 different workers, but all those workers died", where: "", count: 1, cause: "killed-worker", ...common, keys: ["('sum-9c5f', 3)"] },
      { id: 4, prefix: "<img src=x onerror=window.hacked=1>", type: "ValueError", message: "<script>window.hacked=1</script>", where: "x.py:1 in <b>f</b>", count: 2, cause: "user", ...common, keys: ["<img src=x onerror=window.hacked=1>"] },
    ];
  }

  findings(): Json[] {
    if (this.scene.failures === 0) {
      return [];
    }
    const finding = { link: "status", count: 1, first: this.scene.began + 5, last: this.end, active: false, worker: null, keys: [], memory: null };
    const time = Array.from({ length: 40 }, (_, index) => this.end - 40 + index);
    return [
      {
        ...finding, id: 1, kind: "out-of-memory", severity: "error", sentence: "Out of memory (OOM). Task ('sum-9c5f', 3) took the process that ran it along.",
        advice: "Give workers more memory or fewer threads.", link: "info/task/x.html", keys: ["('sum-9c5f', 3)", "<img src=x onerror=window.hacked=1>"],
        worker: "tcp://10.0.0.2:40001", memory: { time, process: time.map((_, index) => (0.2 + index / 50) * GIB), limit: GIB },
      },
      { ...finding, id: 2, kind: "versions", severity: "warning", sentence: "Client-1 has other versions.\n+----+\n| <b>x</b> |", advice: "Use the same.", link: "", count: 4 },
      { ...finding, id: 3, kind: "transfers", severity: "warning", sentence: "41 % of the last minute's work was waiting for inputs.", advice: "Larger workers.", active: true },
    ];
  }

  logs(): Json[] {
    const line = (n: number, level: string, text: string) => ({ n, time: this.scene.began + n, level, logger: "distributed.scheduler", text });
    return [line(0, "INFO", "Scheduler at: tcp://10.0.0.1:8786"), line(1, "WARNING", "Worker tcp://10.0.0.4:40001 is paused"), line(2, "ERROR", "Couldn't gather keys: <b>inc-1</b>")];
  }

  summary(): Json {
    const { scene } = this;
    const groups = this.groups();
    const total = (state: string) => groups.reduce((sum, group) => sum + ((group.states as Record<string, number>)[state] ?? 0), 0);
    const workers = this.workers();
    const memory = (kind: string) => workers.reduce((sum, worker) => sum + (worker.memory as Record<string, number>)[kind], 0);
    const failed = this.failures().reduce((sum, group) => sum + (group.count as number), 0);
    return {
      at: this.end, cluster: { id: "Scheduler-5f", address: "tcp://10.0.0.1:8786", started: scene.began, version: "0.1.0", pid: 4711 },
      scheduler: { state: "running", reason: null, ended: null },
      workers: { total: scene.workers, threads: scene.workers * scene.threads, idle: 0, saturated: scene.workers > 0 ? 2 : 0, paused: scene.workers > 2 ? 1 : 0, retiring: 0, gone: 0, desired: scene.workers, busy: 0.9 * scene.workers * scene.threads },
      tasks: { released: 0, waiting: total("waiting"), "no-worker": 0, queued: total("queued"), processing: scene.workers * 6, memory: total("memory"), erred: total("erred"), forgotten: 0 },
      rate: { runs: scene.tasks > 0 ? 512.5 : 0, failures: 0, transfers: 31 }, runs: this.runs.length, failures: failed, occupancy: 12.5,
      memory_limit: scene.workers * 4 * GIB, tasks_total: scene.tasks,
      memory: { process: memory("process"), managed: memory("managed"), unmanaged_old: memory("unmanaged_old"), unmanaged_recent: memory("unmanaged_recent"), spilled: memory("spilled") },
      clients: 1, graphs: 1, loop: { turns: 81023, longest: 0.0031, busy: 0.12, long_turns: 2 }, ring: { dropped: 0, gaps: 0 }, viewers: 1,
    };
  }

  series(since: number, step: number): Json {
    const time = Array.from({ length: Math.min(300, Math.max(0, Math.floor((this.end - since) / step))) }, (_, index) => since + index * step);
    const wave = (low: number, high: number) => time.map((at) => low + (high - low) * (0.5 + 0.5 * Math.sin(at / 9)));
    return {
      at: this.end, step, time, runs: wave(300, 620), failures: wave(0, 0), transfers: wave(4, 40), processing: wave(10, 36), queued: wave(80, 140),
      memory_process: wave(8 * GIB, 14 * GIB), managed: wave(4 * GIB, 8 * GIB), spilled: wave(0, GIB), workers: wave(6, 6), threads_busy: wave(15, 22), loop_longest: wave(0.001, 0.004),
    };
  }

  // Strips of hosts are those of their workers, added up.
  hostStream(since: number, until: number, buckets: number): Json {
    const all = this.stream(since, until, buckets, "worker", null) as { lanes: Record<string, number | string | number[]>[] };
    const hosts = new Map<string, Record<string, number | string | number[]>>();
    for (const lane of all.lanes) {
      const host = this.host((lane.worker as number) - 1);
      const sum = hosts.get(host);
      if (sum === undefined) {
        hosts.set(host, { ...lane, name: host });
      } else {
        for (const part of ["busy", "transfer", "runs", "failed"]) {
          sum[part] = (sum[part] as number[]).map((value, index) => value + (lane[part] as number[])[index] / (part === "busy" || part === "transfer" ? 20 : 1));
        }
        sum.top = (sum.top as number[]).map((value, index) => value || (lane.top as number[])[index]);
        sum.top_share = (sum.top_share as number[]).map((value, index) => Math.max(value, (lane.top_share as number[])[index]));
      }
    }
    return { ...all, lanes: [...hosts.values()] };
  }

  stream(since: number, until: number, buckets: number, lanes: string, only: string | null): Json {
    const width = (until - since) / buckets;
    const list = this.workers().filter((worker) => only === null || worker.host === only).flatMap((worker) =>
      (lanes === "thread" ? Array.from({ length: this.scene.threads }, (_, thread) => thread) : [-1]).map((thread) => ({ worker: worker.id as number, thread, name: worker.name as string })),
    );
    const zeros = () => new Array<number>(buckets).fill(0);
    const made = list.map(({ worker, thread, name }) => ({
      name, worker, lane: Math.max(thread, 0), nthreads: thread < 0 ? this.scene.threads : 1, busy: zeros(), transfer: zeros(), disk: zeros(), deserialize: zeros(), failed: zeros(), runs: zeros(), top: zeros(), top_share: zeros(),
    }));
    const at = new Map(made.map((lane) => [`${lane.worker}/${lane.lane}`, lane]));
    for (const run of this.runs) {
      const bucket = Math.floor((run.start - since) / width);
      if (bucket >= 0 && bucket < buckets) {
        const lane = at.get(`${run.worker}/${lanes === "thread" ? run.lane : 0}`);
        if (lane === undefined) {
          continue;
        }
        lane.busy[bucket] = Math.min(1, lane.busy[bucket] + run.duration / width / lane.nthreads);
        lane.transfer[bucket] = Math.min(1, lane.transfer[bucket] + run.transfer / width / lane.nthreads);
        lane.runs[bucket]++;
        lane.failed[bucket] += run.status === "ok" ? 0 : 1;
        lane.top[bucket] = run.group;
        lane.top_share[bucket] = 0.8;
      }
    }
    return { since, until, buckets, left_out: 0, prefixes: Object.fromEntries(PREFIXES.map((prefix, index) => [index + 1, prefix])), lanes: made };
  }

  runsOf(query: URLSearchParams): Json {
    const number = (name: string, other: number) => Number(query.get(name) ?? other);
    const limit = number("limit", 100);
    const before = number("after", Infinity);
    const out: Run[] = [];
    let next: string | null = null;
    for (let index = this.runs.length - 1; index >= 0; index--) {
      const run = this.runs[index];
      const fits = run.n < before && run.start + run.duration >= number("since", 0) && run.start <= number("until", Infinity)
        && (!query.has("worker") || run.worker === number("worker", 0)) && (!query.has("group") || run.group === number("group", 0))
        && (!query.has("prefix") || run.prefix === query.get("prefix"));
      if (fits && out.length === limit) {
        next = String(out[out.length - 1].n);
        break;
      }
      if (fits) {
        out.push(run);
      }
    }
    return { at: this.end, next, runs: out };
  }

  why(key: string): Json {
    return {
      key, known: true, summary: "It waits for 2 of its 3 inputs.", advice: ["Start a worker with the resource GPU."], missing: ["inc-1", "inc-2"], missing_total: 2,
      root_cause: "inc-1", queue_place: 0, inputs: [{ key: "inc-1", state: "erred" }, ...this.runs.slice(0, 2).map((run) => ({ key: run.key, state: "memory" }))], inputs_total: 3, users: [{ key: "inc-2", state: "waiting" }], users_total: 1, workers: this.workers().map((worker, index) => ({ address: worker.address, eligible: index > 1, reason: index > 1 ? "" : "it lacks the resource GPU" })),
    };
  }

  // A failed task between its inputs and the one that it spoiled.
  private neighbourhood(key: string): Json {
    const task = (name: string, state: string, hop: number, more: Json = {}) => ({ key: name, prefix: "inc", state, hop, inputs_total: 1, users_total: 1, nbytes: null, workers: [], ...more });
    const known = key === "after" || key === "inc-1";
    const after = task("after", "erred", key === "after" ? 0 : 1);
    const failed = task("inc-1", "erred", key === "after" ? 1 : 0, { inputs_total: 2 });
    const inputs = [task("x", "memory", 1, { nbytes: 28, workers: ["tcp://10.0.0.2:40001"], users_total: 41 }), task("<img src=x onerror=window.hacked=1>", "released", 1)];
    return known
      ? { known, tasks: key === "after" ? [after, failed, ...inputs] : [failed, after, ...inputs], edges: key === "after" ? [[1, 0], [2, 1], [3, 1]] : [[0, 1], [2, 0], [3, 0]], path: key === "after" ? [key, "inc-1"] : [key], blamed: "inc-1" }
      : { known };
  }

  private attempts(key: string): Json {
    const record = (n: number) => ({
      key, status: "failed", run_id: n, start: this.end - 9 + n, stop: this.end - 8.8 + n, thread: 1, cpu_user: 0.12, cpu_system: 0.01, rss_peak: (100 + 400 * n) * 2 ** 20, rss_growth: 2 ** 20,
      faults_minor: 0, faults_major: 0, read_bytes: 0, written_bytes: 4096, output_bytes: 20, output: `attempt ${n}\n<script>window.hacked=1</script>`,
    });
    return key === "inc-1" ? { "tcp://10.0.0.2:40001": [record(1)], "tcp://10.0.0.3:40001": [record(2)] } : {};
  }

  private activities(): Json[] {
    const shares = { "thread-cpu": 0.6, "thread-noncpu": 0.2, deserialize: 0.05, "disk-read": 0.1, other: 0.05 };
    const row = (context: string, name: string, activity: string, unit: string, total: number) => ({ context, function: name, activity, unit, total });
    const ran = this.groups().flatMap((group) => Object.entries(shares).map(([activity, share]) => row("execute", group.prefix as string, activity, "seconds", share * (group.duration as { total: number }).total)));
    return ran.length === 0 ? [] : [...ran, row("get-data", "", "serialize", "seconds", 1.5), row("execute", "sum", "memory-read", "bytes", 5e8), row("execute", "sum", "memory-read", "count", 40)];
  }

  // This one, and those of the two days before.
  private history(): Json[] {
    const entry = (name: string, days: number, more: Json) => ({
      name, id: `Scheduler-${name}`, state: "ended", reason: "stopped", started: this.scene.began - days * 86_400, ended: this.end - days * 86_400, time: this.end - days * 86_400,
      runs: 2500, failures: 0, workers: 4, bytes: 2e6, open: false, this: false, href: `history/${name}/status`, ...more,
    });
    const here = { state: "running", reason: "", ended: null, runs: this.runs.length, workers: this.scene.workers, open: true, this: true };
    return [entry("now", 0, here), entry("yesterday", 1, {}), entry("earlier", 2, { state: "died", reason: "killed by SIGKILL", failures: 3 })];
  }

  private given(key: string): Json {
    const input = (one: Json) => ({ nbytes: 28, type: "int", shape: null, dtype: null, repr: "0", kept: true, why: null, ...one });
    return {
      key, time: this.end, worker: "tcp://10.0.0.2:40001", why: null, task: { function: "inc", args: ["<input x>", "'</pre><script>window.hacked=1</script>'"], kwargs: { by: "<img src=x onerror=window.hacked=1>" }, kept: true, why: null },
      inputs: [input({ key: "x" }), input({ key: "('table', 3)", type: "pandas.DataFrame", nbytes: 3 << 20, shape: "(1000, 3)", dtype: "<img src=x onerror=window.hacked=1>", repr: null, kept: false, why: "larger than 1 MiB" })],
      total: 130, python: "3.11.2", packages: { numpy: "2.4.6" }, log: [["ERROR", "Compute Failed <script>window.hacked=1</script>"]],
    };
  }

  // Worker 1 reads more than the others, and cleans less.
  private profile(worker: string | null): Json {
    const leaf = (name: string, count: number, children: Json[] = []) => ({
      count, identifier: `${name};f.py;1`, description: { name, filename: "/home/ada/analysis/clean.py", line_number: 12, line: "return x" },
      children: Object.fromEntries(children.map((child) => [child.identifier as string, child])),
    });
    return worker === "1" ? leaf("root", 100, [leaf("execute_task", 96, [leaf("clean", 20, [leaf("inc", 16)]), leaf("read", 70)])])
      : leaf("root", 1000, [leaf("execute_task", 900, [leaf("clean", 500, [leaf("inc", 450)]), leaf("read", 380)]), leaf("gc", 60)]);
  }

  answer(path: string, query: URLSearchParams): { status: number; body: Json } {
    const key = query.get("key") ?? "";
    const at = this.end;
    const failure = this.failures().find((one) => String(one.id) === query.get("id"));
    const known = this.runs.some((run) => run.key === key) || key === "inc-1";
    const table: Record<string, () => Json> = {
      summary: () => this.summary(),
      series: () => this.series(Number(query.get("since")), Number(query.get("step") ?? 1)),
      workers: () => ({ at, next: null, workers: this.workers() }),
      groups: () => ({ at, next: null, groups: this.groups() }),
      prefixes: () => ({ at, next: null, prefixes: this.groups().map((group) => ({ ...group, name: group.prefix })) }),
      history: () => ({ at, folder: "/home/ada/.local/state/cask/history", next: null, history: this.history() }),
      runs: () => this.runsOf(query),
      stream: () => (query.get("lanes") === "host" ? this.hostStream(Number(query.get("since")), Number(query.get("until")), Number(query.get("buckets") ?? 400))
        : this.stream(Number(query.get("since")), Number(query.get("until")), Number(query.get("buckets") ?? 400), query.get("lanes") ?? "thread", query.get("host"))),
      findings: () => ({ at, findings: this.findings() }),
      failures: () => ({ at, next: null, total: 1, failures: this.failures() }),
      failure: () => ({ ...failure, inputs: failure === undefined ? null : this.given((failure.keys as string[])[0]), exception: `${failure?.type as string}('${failure?.message as string}')`, traceback: TRACEBACK }),
      logs: () => ({ at, next: null, logs: this.logs().reverse() }),
      events: () => ({ at, next: null, events: [{ n: 1, time: at, topic: "progress", event: { step: 3, of: 12 } }] }),
      graphs: () => ({ at, next: null, graphs: [{ n: 1, time: this.scene.began, client: "Client-5f0c", tasks: this.scene.tasks, new_tasks: this.scene.tasks, collisions: 0, state: "OK", reason: null }] }),
      transfers: () => ({ at, transfers: this.scene.workers < 2 ? [] : [{ from: 1, to: 2, count: 30, seconds: 0.4, longest: 0.1 }, { from: 2, to: 3, count: 310, seconds: 4.4, longest: 1.1 }, { from: 3, to: 1, count: 3, seconds: 0.02, longest: 0.01 }],
        types: this.scene.workers < 2 ? [] : [{ type: "numpy.ndarray", count: 300, bytes: 2.4e9, seconds: 4.4 }, { type: "<img src=x onerror=window.hacked=1>", count: 40, bytes: 0, seconds: 0 }],
      }),
      loop: () => ({ at, kinds: [{ kind: "task-finished", count: 1200, busy: 0.31, longest: 0.002 }, { kind: "update-graph", count: 3, busy: 0.02, longest: 0.011 }] }),
      activities: () => ({ at, activities: this.activities() }),
      why: () => this.why(key),
      neighbourhood: () => this.neighbourhood(key),
      attempts: () => this.attempts(key),
      stacks: () => ({ "tcp://10.0.0.2:40001": { "inc-1": ["  File \"clean.py\", line 12, in inc", "    time.sleep(x)"] } }),
      profile: () => this.profile(query.get("worker")),
      task: () => ({
        at, key, group: known ? 1 : null, prefix: known ? "read-parquet" : null, runs: this.runs.filter((run) => run.key === key), failures: key === "inc-1" ? [1] : [], inputs: key === "inc-1" ? this.given(key) : null,
        scheduler: known || key === "after" ? this.why(key) : { ...this.why(key), known: false },
      }),
      story: () => (known ? [[key, "waiting", "processing", { [key]: "processing" }, "update-graph-1", at]] : []) as unknown as Json,
      statuses: () => ({ at, next: null, statuses: this.scene.workers < 3 ? [] : [{ n: 0, time: this.scene.began, worker: 3, status: "paused" }] }),
    };
    const make = table[path];
    const missing = make === undefined || (path === "failure" && failure === undefined);
    return missing ? { status: 404, body: { error: `${path}: not found` } } : { status: 200, body: make() };
  }
}
