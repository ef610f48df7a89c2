// What the task stream draws for a window of time: single runs while they fit, else strips of buckets.
import { useEffect, useRef, useState } from "preact/hooks";
import { Runs, type LaneKind, type Span, type Strips } from "../draw/timeline";
import { get } from "../wire/api";
import type { Row } from "../wire/channels";
import { Mode } from "../wire/frame";
import { live, type Batch } from "../wire/live";
import { now, summary } from "./tables";

const CAPACITY = 1 << 16;
const PAGE = 1000;
const SINGLE_MOST = 4000; // runs in a window that are drawn one by one
const LIVE_MOST = 2000; // a second: beyond, the tail is not sent run by run
const SETTLE_MS = 120; // a zoom asks when the hand rests
const AGAIN_MS = 1000;
const CELLS_MOST = 40_000; // buckets of all workers of a host, of each at least LEAST
const LEAST = 40;
const AGAIN_BUCKETS = 4; // a picture is asked for again when it has moved by so many

// A window that ends now moves on with every frame of the screen, a little behind what has come, so that it glides.
export function useFollowed(span: Span, following: boolean): Span {
  const [, setTick] = useState(0);
  const skew = useRef<number | undefined>(undefined);
  useEffect(() => {
    if (!following) {
      return undefined;
    }
    const step = window.matchMedia("(prefers-reduced-motion: reduce)").matches ? 1000 : 250;
    const timer = window.setInterval(() => !document.hidden && setTick((tick) => tick + 1), step);
    return () => window.clearInterval(timer);
  }, [following]);
  if (!following || now.value === 0) {
    return span;
  }
  // The cluster's clock, as far as it differs from this machine's; a scheduler that is gone stops it.
  if (summary.value?.state === 0 || skew.current === undefined) {
    const seen = now.value - Date.now() / 1000;
    skew.current = Math.max(skew.current ?? -Infinity, seen);
  }
  const end = summary.value?.state === 0 ? Date.now() / 1000 + skew.current : now.value;
  return { since: end - (span.until - span.since), until: end };
}

async function rowsOf(span: Span, stop: AbortSignal): Promise<Row[]> {
  const rows: Row[] = [];
  let after: string | undefined;
  do {
    const page = await get("runs", { since: span.since, until: span.until, limit: PAGE, after }, stop);
    rows.push(...page.runs);
    after = page.next ?? undefined;
  } while (after !== undefined && rows.length < 2 * SINGLE_MOST);
  return rows;
}

async function runsOf(span: Span, stop: AbortSignal): Promise<Runs> {
  const runs = new Runs(2 * SINGLE_MOST);
  (await rowsOf(span, stop)).forEach((row) => runs.add(row));
  return runs;
}

interface Tail {
  runs: Runs;
  complete: number; // from when on nothing is missing
  fill(since: number, stop: AbortSignal): Promise<void>; // have also what was before
}

// The newest runs as they come.
function useTail(on: boolean, hz: number): Tail {
  const runs = useRef<Runs | undefined>(undefined);
  const complete = useRef(Infinity);
  const first = useRef(Infinity); // the number of the first run that came
  runs.current ??= new Runs(CAPACITY);
  useEffect(() => {
    if (!on) {
      return undefined;
    }
    const kept = runs.current as Runs;
    const leave = live().subscribe("stream", { hz, p: { keys: false } }, (batch: Batch) => {
      // Polled rows replace; the first frame of a subscription begins anew, too.
      if (batch.mode === Mode.Replace || complete.current === Infinity) {
        kept.clear();
        complete.current = Infinity;
      }
      const begins = complete.current === Infinity || batch.lost;
      batch.rows.forEach((row) => kept.add(row));
      if (begins) {
        first.current = (batch.rows[0]?.n as number | undefined) ?? Infinity;
        const starts = batch.rows.map((row) => (row.start as number) + (row.duration as number));
        complete.current = batch.rows.length < PAGE ? 0 : starts.reduce((least, end) => Math.min(least, end), Infinity);
      }
    });
    return () => {
      leave();
      complete.current = Infinity;
    };
  }, [on, hz]);
  const fill = async (since: number, stop: AbortSignal) => {
    const until = complete.current;
    if (until === Infinity || until <= since) {
      return;
    }
    for (const row of await rowsOf({ since, until }, stop)) {
      if ((row.n as number) < first.current) {
        runs.current?.add(row);
      }
    }
    complete.current = complete.current === until ? since : complete.current;
  };
  return { runs: runs.current, complete: complete.current, fill };
}

// Strips of hosts, and of the workers of those that are open.
async function stripsOf(span: Span, { lanes, open, buckets, many }: Drawn, stop: AbortSignal): Promise<Strips> {
  const asked = { since: span.since, until: span.until, buckets: Math.min(buckets, 2000) };
  const strips: Strips = await get("stream", { ...asked, lanes }, stop);
  if (lanes !== "host") {
    return strips;
  }
  const opened: Strips[] = await Promise.all(open.map((host) => get("stream", { ...asked, buckets: Math.min(asked.buckets, Math.max(LEAST, Math.floor(CELLS_MOST / many(host)))), lanes: "worker", host }, stop)));
  return {
    ...strips,
    prefixes: Object.assign({}, strips.prefixes, ...opened.map((one) => one.prefixes)),
    lanes: [...strips.lanes.map((lane) => ({ ...lane, host: lane.name })), ...opened.flatMap((one) => one.lanes)],
  };
}

export interface WindowData {
  runs?: Runs;
  strips?: Strips;
  error?: Error;
}

export interface Drawn {
  lanes: LaneKind;
  open: readonly string[]; // hosts whose workers are drawn, too
  many(host: string): number; // how many those are
  buckets: number;
  hz: number;
}

export function useWindow(span: Span, following: boolean, drawn: Drawn): WindowData {
  const { lanes, open, buckets, hz } = drawn;
  // A host's runs would lie on top of one another.
  const calm = lanes !== "host" && (summary.value?.runRate ?? 0) < LIVE_MOST;
  const tail = useTail(following && calm, hz);
  const direct = following && calm && tail.complete <= span.since;
  const [data, setData] = useState<WindowData>({});
  const latest = useRef(span);
  latest.current = span;
  const asked = following ? `live ${(span.until - span.since).toFixed(3)}` : `${span.since} ${span.until}`;
  useEffect(() => {
    if (direct) {
      return undefined;
    }
    const stop = new AbortController();
    let timer = 0;
    const ask = async () => {
      try {
        const { since, until } = latest.current;
        const strips = await stripsOf({ since, until }, drawn, stop.signal);
        const total = strips.lanes.reduce((sum, lane) => sum + lane.runs.reduce((all, value) => all + value, 0), 0);
        if (following && calm && total <= SINGLE_MOST) {
          await tail.fill(since, stop.signal); // from now on all comes by itself
        }
        setData({ strips, runs: following || lanes === "host" || total > SINGLE_MOST ? undefined : await runsOf({ since, until }, stop.signal) });
      } catch (error) {
        if (!stop.signal.aborted) {
          setData((before) => ({ ...before, error: error as Error }));
        }
      }
      if (following && !stop.signal.aborted) {
        const bucket = (latest.current.until - latest.current.since) / buckets;
        timer = window.setTimeout(() => void ask(), Math.max(AGAIN_MS, AGAIN_BUCKETS * bucket * 1000));
      }
    };
    timer = window.setTimeout(() => void ask(), SETTLE_MS);
    return () => {
      stop.abort();
      window.clearTimeout(timer);
    };
  }, [asked, direct, lanes, open.join(" "), buckets]);
  return direct ? { runs: tail.runs } : data;
}
