// What a task was given when it failed: its function, its arguments, its inputs, and what its worker said around it.
import { bytes, clock, count, plural } from "../base/format";
import { useWorkers, workers } from "../data/tables";
import { Panel, Stat, TaskLink, WorkerLink } from "../parts/common";
import type { Json } from "../wire/channels";

function workerAt(address: string | null) {
  const known = [...workers.rows.values()].find((row) => row.address === address);
  return known === undefined ? (address ?? "–") : <WorkerLink address={known.address} name={known.name} />;
}

function Input({ input }: { input: Json }) {
  return (
    <tr>
      <td><TaskLink name={input.key} /></td>
      <td class="key">{input.type ?? "–"}</td>
      <td class="number">{bytes(input.nbytes)}</td>
      <td class="key">{input.shape ?? "–"}</td>
      <td class="key">{input.dtype ?? "–"}</td>
      <td class="key value">{input.repr ?? "–"}</td>
      <td>{input.kept ? "● kept" : `○ ${input.why ?? "not kept"}`}</td>
    </tr>
  );
}

function InputTable({ given }: { given: Json }) {
  const left = given.total - given.inputs.length;
  return (
    <>
      <table class="plain inputs" aria-label="Inputs">
        <thead><tr>{["input", "type", "size", "shape", "dtype", "value", "for cask replay"].map((title) => <th key={title} scope="col">{title}</th>)}</tr></thead>
        <tbody>{given.inputs.map((input: Json) => <Input key={input.key} input={input} />)}</tbody>
      </table>
      {left > 0 && <p class="hint">and {count(left)} more.</p>}
    </>
  );
}

// As it would be written in Python; the parts are whatever the task had.
export function callOf(task: Json): string {
  const named = Object.entries(task.kwargs as Record<string, string>).map(([name, value]) => `${name}=${value}`);
  return `${task.function ?? "?"}(${[...task.args, ...named].join(", ")})`;
}

export function Inputs({ given }: { given: Json }) {
  useWorkers();
  const packages = Object.entries(given.packages as Record<string, string>).map(([name, version]) => `${name} ${version}`);
  return (
    <>
      <Panel title="What it was given" side={clock(given.time, true)}>
        <pre class="call">{callOf(given.task)}</pre>
        {!given.task.kept && <p class="hint">○ The task itself is not kept: {given.task.why ?? given.why ?? "it is not known why"}.</p>}
        {given.inputs.length > 0 ? <InputTable given={given} /> : <p class="hint">It has no inputs but its arguments.</p>}
      </Panel>
      <Panel title="Where it failed">
        <dl class="stats">
          <Stat name="worker" value={workerAt(given.worker)} />
          <Stat name="Python" value={given.python ?? "–"} />
          <Stat name="packages" value={packages.join(", ") || "–"} />
        </dl>
        {given.log.length > 0 && (
          <details class="log">
            <summary>the last {plural(given.log.length, "line")} of that worker's log</summary>
            <pre>{(given.log as [string, string][]).map(([, text]) => text).join("\n")}</pre>
          </details>
        )}
      </Panel>
    </>
  );
}
