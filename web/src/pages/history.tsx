// The runs that are kept: a list, each with all the pages of its own, and two of them compared.
import { useEffect, useState } from "preact/hooks";
import { bytes, count, duration } from "../base/format";
import { place, setQuery } from "../base/route";
import { compare, sentence, signed, together, type Difference, type Figures } from "../data/compare";
import { Choice, Empty, Panel, Problem, Swatch } from "../parts/common";
import { Grid, type GridColumn } from "../parts/grid";
import { get } from "../wire/api";
import { keptName, outer } from "../wire/base";
import type { Json } from "../wire/channels";

const day = (time: number): string => new Date(time * 1000).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "medium" });

// Whether it is what the dashboard itself shows, live or kept.
const isOuter = (row: Json): boolean => row.this;
const isShown = (row: Json): boolean => (keptName() === undefined ? isOuter(row) : row.name === keptName());
const rootOf = (row: Json): URL => (isOuter(row) ? outer() : new URL(`history/${row.name}/`, outer()));

function End({ row }: { row: Json }) {
  if (row.state === "died") {
    return <b class="bad" title={row.reason}>✕ died</b>;
  }
  return <span title={row.reason}>{row.state === "running" ? "● running" : "○ ended"}</span>;
}

const COLUMNS: readonly GridColumn<Json>[] = [
  { id: "started", title: "began", text: true, value: (row) => row.started, cell: (row) => <a href={new URL("status", rootOf(row)).href} title={row.name}>{day(row.started)}</a> },
  { id: "id", title: "scheduler", text: true, grow: true, value: (row) => row.id, cell: (row) => <span class="key" title={row.name}>{row.id}{isShown(row) ? " (shown here)" : ""}</span> },
  { id: "lasted", title: "lasted", value: (row) => row.time - row.started, cell: (row) => duration(Math.max(0, row.time - row.started)) },
  { id: "runs", title: "tasks run", value: (row) => row.runs, cell: (row) => count(row.runs) },
  { id: "failures", title: "failed", value: (row) => row.failures, cell: (row) => (row.failures > 0 ? <b class="bad">✕ {count(row.failures)}</b> : "0") },
  { id: "workers", title: "workers", value: (row) => row.workers, cell: (row) => count(row.workers) },
  { id: "bytes", title: "file", value: (row) => row.bytes, cell: (row) => bytes(row.bytes) },
  { id: "end", title: "end", text: true, value: (row) => `${row.state}${row.open}`, cell: (row) => <End row={row} /> },
  { id: "compare", title: "compare", text: true, value: () => "", cell: (row) => <button type="button" onClick={() => setQuery({ earlier: row.name })} aria-label={`compare that of ${day(row.started)} with this`}>with this</button> },
];

const both = (text: (one: Figures) => string) => (row: Difference): string => `${text(row.earlier)} → ${text(row.later)}`;

const DIFFERENCES: readonly GridColumn<Difference>[] = [
  { id: "prefix", title: "prefix", text: true, grow: true, value: (row) => row.prefix, cell: (row) => <><Swatch prefix={row.prefix} /> {row.prefix}</> },
  { id: "all", title: "difference", says: "computing and waiting for inputs, all its tasks together", value: (row) => Math.abs(row.all), cell: (row) => signed(row.all) },
  { id: "cause", title: "because", text: true, value: (row) => row.cause },
  { id: "runs", title: "runs", value: (row) => row.later.runs, cell: both((one) => count(one.runs)) },
  { id: "mean", title: "mean", value: (row) => row.later.compute / row.later.runs, cell: both((one) => duration(one.compute / one.runs)) },
  { id: "p50", title: "median", value: (row) => row.later.p50, cell: both((one) => duration(one.p50)) },
  { id: "p90", title: "90 % under", value: (row) => row.later.p90, cell: both((one) => duration(one.p90)) },
  { id: "p99", title: "99 % under", value: (row) => row.later.p99, cell: both((one) => duration(one.p99)) },
  { id: "transfer", title: "inputs", says: "waited for inputs", value: (row) => row.later.transfer, cell: both((one) => duration(one.transfer)) },
  { id: "failures", title: "failed", value: (row) => row.later.failures, cell: both((one) => count(one.failures)) },
];

async function prefixesOf(row: Json, stop: AbortSignal): Promise<Json[]> {
  const rows: Json[] = [];
  let after: string | undefined;
  do {
    const page = await get("prefixes", { limit: 1000, after }, stop, rootOf(row));
    rows.push(...page.prefixes);
    after = page.next ?? undefined;
  } while (after !== undefined);
  return rows;
}

function useDifferences(earlier: Json, later: Json): { list?: Difference[]; error?: Error } {
  const [state, setState] = useState<{ list?: Difference[]; error?: Error }>({});
  useEffect(() => {
    const stop = new AbortController();
    setState({});
    Promise.all([prefixesOf(earlier, stop.signal), prefixesOf(later, stop.signal)]).then(
      ([before, after]) => setState({ list: compare(before, after) }),
      (error: Error) => !stop.signal.aborted && setState({ error }),
    );
    return () => stop.abort();
  }, [earlier.name, later.name]);
  return state;
}

function Whole({ earlier, later, list }: { earlier: Json; later: Json; list: readonly Difference[] }) {
  const before = together(list, "earlier");
  const after = together(list, "later");
  const lines: readonly (readonly [string, string, string])[] = [
    ["began", day(earlier.started), day(later.started)],
    ["lasted", duration(earlier.time - earlier.started), duration(later.time - later.started)],
    ["computed", duration(before.compute), duration(after.compute)],
    ["waited for inputs", duration(before.transfer), duration(after.transfer)],
    ["tasks run", count(before.runs), count(after.runs)],
    ["failed", count(before.failures), count(after.failures)],
    ["workers", count(earlier.workers), count(later.workers)],
  ];
  return (
    <div class="scroll" tabIndex={0} role="region" aria-label="Both runs">
      <table class="plain">
        <thead><tr><th scope="col"><span class="unseen">figure</span></th><th scope="col">earlier</th><th scope="col">later</th></tr></thead>
        <tbody>{lines.map(([name, one, other]) => <tr key={name}><th scope="row">{name}</th><td>{one}</td><td>{other}</td></tr>)}</tbody>
      </table>
    </div>
  );
}

function Comparison({ earlier, later }: { earlier: Json; later: Json }) {
  const { list, error } = useDifferences(earlier, later);
  return (
    <>
      <Problem error={error} />
      {list && (
        <>
          <p class="answer">{sentence(list)}</p>
          <Panel title="The two runs"><Whole earlier={earlier} later={later} list={list} /></Panel>
          <Panel title="What makes the difference" side="the largest first, earlier → later; quantiles to within a half octave">
            <Grid label="Differences by prefix" rows={list} columns={DIFFERENCES} id={(row) => row.prefix} sort="-all" empty="No task ran in either of them." />
          </Panel>
        </>
      )}
    </>
  );
}

function Chooser({ rows, earlier, later }: { rows: readonly Json[]; earlier: Json; later: Json }) {
  const options = rows.map((row): [string, string] => [row.name, `${day(row.started)}${isShown(row) ? " (shown here)" : ""}, ${count(row.runs)} tasks`]);
  return (
    <div class="tools">
      <Choice label="earlier" value={earlier.name as string} options={options} onChange={(value) => setQuery({ earlier: value })} />
      <Choice label="later" value={later.name as string} options={options} onChange={(value) => setQuery({ later: value })} />
      <button type="button" onClick={() => setQuery({ earlier: later.name, later: earlier.name })}>the other way round</button>
      <button type="button" onClick={() => setQuery({ earlier: undefined, later: undefined })}>all runs</button>
    </div>
  );
}

async function allRuns(stop: AbortSignal): Promise<Json> {
  const rows: Json[] = [];
  let page: Json;
  let after: string | undefined;
  do {
    page = await get("history", { limit: 1000, after }, stop, outer());
    rows.push(...page.history);
    after = page.next ?? undefined;
  } while (after !== undefined);
  return { folder: page.folder, history: rows };
}

export function History() {
  const [data, setData] = useState<Json>(undefined);
  const [error, setError] = useState<Error | undefined>(undefined);
  useEffect(() => {
    const stop = new AbortController();
    allRuns(stop.signal).then(setData, (wrong: Error) => !stop.signal.aborted && setError(wrong));
    return () => stop.abort();
  }, []);
  if (data === undefined) {
    return <Problem error={error} />;
  }
  const rows: Json[] = data.history;
  const query = place.value.query;
  const named = (name: string | null): Json | undefined => rows.find((row) => row.name === name);
  const earlier = named(query.get("earlier"));
  const later = named(query.get("later")) ?? rows.find(isShown) ?? rows[0];
  if (earlier !== undefined && later !== undefined) {
    return <><Chooser rows={rows} earlier={earlier} later={later} /><Comparison earlier={earlier} later={later} /></>;
  }
  if (data.folder === "") {
    return <Empty>No history is kept: it was switched off (cask scheduler --history off).</Empty>;
  }
  return (
    <Panel title="Runs" side={<span class="key">{data.folder}</span>}>
      <Grid label="Runs" rows={rows} columns={COLUMNS} id={(row) => row.name} sort="-started" empty="No run is kept yet: the first appears when tasks have run." />
    </Panel>
  );
}
