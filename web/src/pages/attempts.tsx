// The runs of one task side by side: where, when, what they cost, what they printed. Cask's workers remember the cost and
// the output of their last runs; of runs on Dask's there is what the scheduler was told.
import { bytes, clock, duration } from "../base/format";
import { useWorkers, workers } from "../data/tables";
import { attemptsOf, type Attempt } from "../data/attempts";
import { Panel, WorkerLink } from "../parts/common";
import { useAnswer } from "../wire/api";
import type { Json } from "../wire/channels";
import { isAsked } from "./around";

const LINES: readonly (readonly [string, (one: Attempt) => preact.ComponentChildren])[] = [
  ["end", (one) => (one.status === "ok" || one.status === "finished" ? "● ok" : one.status === "running" ? "▶ running" : <b class="bad">✕ {one.status === "error" ? "failed" : one.status}</b>)],
  ["worker", (one) => <Where attempt={one} />],
  ["began", (one) => clock(one.start, true)],
  ["took", (one) => duration(one.duration)],
  ["CPU", (one) => duration(one.cpu)],
  ["peak memory", (one) => (one.peak === undefined ? "–" : `${bytes(one.peak)}, grew by ${bytes(one.growth)}`)],
  ["read, written", (one) => (one.read === undefined ? "–" : `${bytes(one.read)}, ${bytes(one.written)}`)],
  ["transfer", (one) => duration(one.transfer)],
];

function Where({ attempt }: { attempt: Attempt }) {
  const row = attempt.worker === undefined ? workers.list().find((one) => one.address === attempt.address) : workers.rows.get(attempt.worker);
  return row === undefined ? <>{attempt.address ?? `worker ${attempt.worker}`}</> : <WorkerLink address={row.address} name={row.name} />;
}

const output = (one: Attempt): preact.ComponentChildren => {
  if (one.output === undefined) {
    return <span class="dim">not known: its worker keeps no output, or is gone</span>;
  }
  return one.output === "" ? <span class="dim">nothing</span> : <pre class="printed" tabIndex={0}>{one.output}</pre>;
};

// `runs` as `task` has them, `given` as its inputs.
export function Attempts({ name, runs, given }: { name: string; runs: readonly Json[]; given: Json | null }) {
  useWorkers();
  const ids = [...new Set(runs.map((run) => run.worker as number))].slice(0, 16).join(",");
  const { data } = useAnswer(isAsked() ? "attempts" : undefined, { key: name, workers: ids || workers.list().find((row) => row.address === given?.worker)?.id || "0" });
  const idOf = new Map(workers.list().map((row) => [row.address, row.id]));
  const attempts = attemptsOf(runs, data ?? {}, given, (address) => idOf.get(address));
  if (attempts.length === 0) {
    return null;
  }
  return (
    <Panel title="Attempts" side={attempts.length > 1 ? "the oldest left" : undefined}>
      <div class="scroll" tabIndex={0} role="region" aria-label="Attempts">
        <table class="plain attempts">
          <thead><tr><th scope="col"><span class="unseen">figure</span></th>{attempts.map((_, index) => <th key={index} scope="col">attempt {index + 1}</th>)}</tr></thead>
          <tbody>
            {LINES.map(([title, cell]) => <tr key={title}><th scope="row">{title}</th>{attempts.map((one, index) => <td key={index}>{cell(one)}</td>)}</tr>)}
            <tr><th scope="row">printed last</th>{attempts.map((one, index) => <td key={index}>{output(one)}</td>)}</tr>
          </tbody>
        </table>
      </div>
    </Panel>
  );
}
