// Findings: what the observer's rules say went wrong, the worst first, each with what it was seen by and what to do.
import { ago, clock, count, plural } from "../base/format";
import { range } from "../base/route";
import { findings, now, type FindingRow } from "../data/tables";
import { Go, Panel, Spark, TaskLink } from "./common";

interface Detail {
  worker: string | null;
  keys: string[];
  memory: { time: number[]; process: number[]; limit: number } | null;
}

const SIGNS = ["○", "⚠", "✕"];
const WORDS = ["note", "warning", "error"];

// Of severity, then what holds now, then the newest.
export function byWeight(one: FindingRow, other: FindingRow): number {
  return other.severity - one.severity || other.active - one.active || other.last - one.last;
}

function when(row: FindingRow): string {
  if (row.active !== 0) {
    return `since ${clock(row.first)}`;
  }
  return row.last - row.first >= 1 ? `${clock(row.first)} to ${clock(row.last)}` : clock(row.last);
}

function Memory({ memory }: { memory: NonNullable<Detail["memory"]> }) {
  if (memory.process.length < 2) {
    return null;
  }
  const seconds = Math.round(memory.time[memory.time.length - 1] - memory.time[0]);
  return (
    <figure>
      <Spark values={memory.process} top={memory.limit > 0 ? memory.limit : undefined} height={34} />
      <figcaption class="dim">its memory, {plural(seconds, "second")}{memory.limit > 0 ? ", of its limit" : ""}</figcaption>
    </figure>
  );
}

function Finding({ row }: { row: FindingRow }) {
  const { keys, memory } = JSON.parse(row.detail) as Detail;
  const [sentence, ...rest] = row.sentence.split("\n");
  return (
    <li class={`finding ${WORDS[row.severity]} ${row.active !== 0 ? "" : "past"}`}>
      <span class="sign"><span aria-hidden="true">{SIGNS[row.severity]}</span> {WORDS[row.severity]}</span>
      <div class="what">
        {row.link === "" ? <b>{sentence}</b> : <Go href={row.link}>{sentence}</Go>}
        {rest.length > 0 && <details><summary>the comparison</summary><pre>{rest.join("\n")}</pre></details>}
        <p class="dim">{row.advice}</p>
        {keys.length > 0 && <p class="keys-of">{keys.map((key) => <TaskLink key={key} name={key} />)}</p>}
      </div>
      {memory !== null && <Memory memory={memory} />}
      <span class="when">{when(row)}<br />{row.count > 1 ? `${count(row.count)} times, ` : ""}{ago(row.last, now.value)}</span>
    </li>
  );
}

export function Findings() {
  const chosen = range.value;
  const rows = findings.list().filter((row) => chosen === undefined || (row.last >= chosen.since && row.first <= chosen.until)).sort(byWeight);
  if (rows.length === 0) {
    return null;
  }
  return (
    <Panel title="Findings" side="by rules, the worst first; what no longer holds is dimmed">
      <ul class="failures">{rows.map((row) => <Finding key={row.id} row={row} />)}</ul>
    </Panel>
  );
}
