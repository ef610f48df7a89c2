// What went wrong: what rules found; failures in groups, so that ten thousand equal ones are a line; workers that were lost.
import { ago, clock, count, plural } from "../base/format";
import { range } from "../base/route";
import { failures, findings, now, summary, useFailures, useFindings, useWorkers, workers, type FailureRow, type WorkerRow } from "../data/tables";
import { Go, Panel, Stat, Swatch, WorkerLink } from "../parts/common";
import { Findings } from "../parts/findings";
import { Grid, type GridColumn } from "../parts/grid";
import { CAUSES } from "../wire/channels";

export const CAUSE_WORDS: Record<string, string> = {
  user: "raised by the task",
  "killed-worker": "its workers died",
  memory: "out of memory",
  "actor-lost": "its actor was lost",
  "no-worker": "no worker came",
  "no-valid-worker": "no worker may run it",
  text: "refused by the scheduler",
};

function Group({ row }: { row: FailureRow }) {
  return (
    <li>
      <Go class="failure" href={`failure/${row.id}`}>
        <span class="times">✕ {count(row.count)}</span>
        <span class="what">
          <b>{row.type || "Failure"}</b> {row.message}
          <span class="where"><Swatch prefix={row.prefix} /> {row.prefix}{row.where ? ` · ${row.where}` : ""} · {CAUSE_WORDS[CAUSES[row.cause]] ?? "unknown"}</span>
        </span>
        <span class="when">{row.count > 1 ? `${clock(row.first)} to ${clock(row.last)}` : clock(row.last)}<br />{ago(row.last, now.value)}</span>
      </Go>
    </li>
  );
}

const LOST: readonly GridColumn<WorkerRow>[] = [
  { id: "removed", title: "when", value: (row) => row.removed, cell: (row) => `${clock(row.removed)} · ${ago(row.removed, now.value)}`, text: true },
  { id: "name", title: "worker", text: true, grow: true, value: (row) => row.name, cell: (row) => <WorkerLink address={row.address} name={row.name} /> },
  { id: "status", title: "last status", text: true, value: (row) => row.status },
  { id: "processing", title: "tasks it had", value: (row) => row.processing, cell: (row) => count(row.processing) },
  { id: "runs", title: "runs", value: (row) => row.runs, cell: (row) => count(row.runs) },
];

// Of the range that was chosen, if there is one.
const within = ({ first, last }: { first: number; last: number }): boolean => range.value === undefined || (last >= range.value.since && first <= range.value.until);

export function Problems() {
  useFailures();
  useFindings();
  useWorkers();
  const groups = failures.list().filter(within).sort((one, other) => other.last - one.last);
  const gone = workers.list().filter((worker) => worker.removed > 0 && within({ first: worker.removed, last: worker.removed }));
  const paused = workers.list().filter((worker) => worker.removed === 0 && worker.status === "paused");
  const row = summary.value;
  const stuck = row?.noWorker ?? 0;
  const calm = failures.loaded && findings.loaded && findings.rows.size === 0 && groups.length === 0 && gone.length === 0 && stuck === 0 && paused.length === 0 && row?.state === 0;
  return (
    <>
      <dl class="stats">
        <Stat name="failures" value={count(row?.failures)} note={plural(groups.length, "kind")} alarm={(row?.failures ?? 0) > 0} />
        <Stat name="erred now" value={count(row?.erred)} note="tasks in that state" />
        <Stat name="workers gone" value={count(gone.length)} note={`${count(row?.workers)} here`} />
        <Stat name="paused" value={count(paused.length)} note="workers, for memory" alarm={paused.length > 0} />
        <Stat name="no worker" value={count(stuck)} note="tasks that none may run" alarm={stuck > 0} />
        <Stat name="not recorded" value={count(row?.dropped)} note="records, ring full" alarm={(row?.dropped ?? 0) > 0} />
      </dl>
      {calm && <p class="calm">● Nothing has gone wrong.</p>}
      <Findings />
      {groups.length > 0 && (
        <Panel title="Failures" side="same task prefix, exception and place: one line">
          <ul class="failures">{groups.map((one) => <Group key={one.id} row={one} />)}</ul>
        </Panel>
      )}
      {gone.length > 0 && (
        <Panel title="Workers that are gone">
          <Grid label="Workers that are gone" rows={gone} columns={LOST} id={(one) => one.id} sort="-removed" />
        </Panel>
      )}
    </>
  );
}
