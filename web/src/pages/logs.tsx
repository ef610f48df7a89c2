// The scheduler's log, as it is written, and what was logged under topics.
import { useState } from "preact/hooks";
import { clock, count } from "../base/format";
import { place, range, setQuery } from "../base/route";
import { logs, useLogs } from "../data/tables";
import type { PageProps } from "../pages";
import { Choice, Empty, Panel, Problem } from "../parts/common";
import { Grid, type GridColumn } from "../parts/grid";
import { useAnswer } from "../wire/api";
import type { Json } from "../wire/channels";

const LEVELS: Record<number, string> = { 10: "debug", 20: "info", 30: "⚠ warning", 40: "✕ error", 50: "✕ critical" };
const SHOWN = 500;

// Lines come as they were printed; what the other columns say is left out.
const PRINTED = /^\d{4}-\d\d-\d\d [\d:,.]+ - \S+ - [A-Z]+ - /;

function Log({ text, level }: { text: string; level: number }) {
  const rows = useLogs().list().filter((row) => inRange(row.time) && row.level >= level && (text === "" || row.text.includes(text) || row.logger.includes(text)));
  const last = rows.slice(-SHOWN).reverse();
  if (logs.loaded && last.length === 0) {
    return <Empty>No such lines.</Empty>;
  }
  return (
    <div class="scroll" tabIndex={0} role="region" aria-label="Log">
      <table class="plain log">
        <thead><tr><th scope="col">when</th><th scope="col">level</th><th scope="col">logger</th><th scope="col">line</th></tr></thead>
        <tbody>
          {last.map((row) => (
            <tr key={row.n} class={row.level >= 40 ? "bad-row" : row.level >= 30 ? "warn-row" : ""}>
              <td>{clock(row.time, true)}</td><td>{LEVELS[row.level] ?? row.level}</td><td>{row.logger}</td><td class="line">{row.text.replace(PRINTED, "")}</td>
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

const inRange = (time: number): boolean => range.value === undefined || (time >= range.value.since && time <= range.value.until);

const EVENTS: readonly GridColumn<Json>[] = [
  { id: "time", title: "when", text: true, value: (row) => row.time, cell: (row) => clock(row.time, true) },
  { id: "topic", title: "topic", text: true, value: (row) => row.topic, cell: (row) => <span class="key">{row.topic}</span> },
  { id: "event", title: "event", text: true, grow: true, value: (row) => JSON.stringify(row.event), cell: (row) => <code title={JSON.stringify(row.event, null, 1)}>{JSON.stringify(row.event)}</code> },
];

const GRAPHS: readonly GridColumn<Json>[] = [
  { id: "time", title: "when", text: true, value: (row) => row.time, cell: (row) => clock(row.time, true) },
  { id: "client", title: "client", text: true, grow: true, value: (row) => row.client, cell: (row) => <span class="key">{row.client}</span> },
  { id: "tasks", title: "tasks", value: (row) => row.tasks, cell: (row) => count(row.tasks) },
  { id: "new", title: "new", value: (row) => row.new_tasks, cell: (row) => count(row.new_tasks) },
  { id: "collisions", title: "collisions", says: "keys that meant something else before", value: (row) => row.collisions, cell: (row) => count(row.collisions) },
  { id: "state", title: "state", text: true, value: (row) => row.state, cell: (row) => (row.reason ? <b class="bad">✕ {row.state}: {row.reason}</b> : row.state) },
];

export function Events() {
  const events = useAnswer("events", { limit: 500, topic: place.value.query.get("topic") ?? undefined }, 2);
  return (
    <>
      <Problem error={events.error} />
      {events.data && <Grid tall label="Events" rows={events.data.events.filter((row: Json) => inRange(row.time))} columns={EVENTS} id={(row) => row.n} sort="-time" empty="Nothing was logged with Client.log_event." />}
    </>
  );
}

export function Graphs() {
  const graphs = useAnswer("graphs", { limit: 100 }, 3);
  return (
    <>
      <Problem error={graphs.error} />
      {graphs.data && <Grid label="Graphs" rows={graphs.data.graphs} columns={GRAPHS} id={(row) => row.n} sort="-time" empty="No graph came yet." />}
    </>
  );
}

export function Logs({ name }: PageProps) {
  const [text, setText] = useState(name ?? "");
  const level = place.value.query.get("level") ?? "0";
  return (
    <>
      <div class="tools">
        <Choice label="level" value={level} options={[["0", "all"], ["20", "info"], ["30", "warning"], ["40", "error"]]} onChange={(value) => setQuery({ level: value === "0" ? undefined : value })} />
        <label>contains <input value={text} onInput={(event) => setText(event.currentTarget.value)} spellcheck={false} autoComplete="off" /></label>
      </div>
      <Panel title="Log of the scheduler" side="newest first" class="fill"><Log text={text} level={Number(level)} /></Panel>
      <Panel title="Events" class="fill"><Events /></Panel>
    </>
  );
}
