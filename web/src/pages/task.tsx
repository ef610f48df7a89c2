// One task: its runs, its failures, where it is now and how it came there.
import { bytes, clock, duration } from "../base/format";
import { whyHref } from "../base/route";
import { useWorkers, workers } from "../data/tables";
import type { PageProps } from "../pages";
import { Empty, Go, Panel, Problem, Stat, TaskLink, WorkerLink } from "../parts/common";
import { Grid, type GridColumn } from "../parts/grid";
import { useAnswer } from "../wire/api";
import type { Json } from "../wire/channels";
import { Chain, Neighbourhood } from "./around";
import { Attempts } from "./attempts";
import { FailureBody, LookCloser } from "./failure";
import { WhyBody } from "./why";

const RUNS: readonly GridColumn<Json>[] = [
  { id: "start", title: "began", value: (run) => run.start, cell: (run) => clock(run.start, true), text: true },
  { id: "key", title: "task", text: true, grow: true, value: (run) => run.key, cell: (run) => <TaskLink name={run.key} /> },
  { id: "worker", title: "worker", text: true, value: (run) => workers.rows.get(run.worker)?.name ?? String(run.worker), cell: workerOf },
  { id: "duration", title: "took", value: (run) => run.duration, cell: (run) => duration(run.duration) },
  { id: "transfer", title: "transfer", says: "seconds until its inputs were there", value: (run) => run.transfer, cell: (run) => duration(run.transfer) },
  { id: "disk", title: "disk", value: (run) => run.disk, cell: (run) => duration(run.disk) },
  { id: "nbytes", title: "result", value: (run) => run.nbytes ?? NaN, cell: (run) => bytes(run.nbytes) },
  { id: "type", title: "type", text: true, value: (run) => run.type ?? "", cell: (run) => run.type ?? "–" },
  { id: "status", title: "end", text: true, value: (run) => run.status, cell: (run) => (run.status === "ok" ? "● ok" : <b class="bad">✕ failed</b>) },
];

function workerOf(run: Json) {
  const worker = workers.rows.get(run.worker);
  return worker === undefined ? `worker ${run.worker}` : <WorkerLink address={worker.address} name={worker.name} />;
}

export function RunsGrid({ runs }: { runs: readonly Json[] }) {
  useWorkers();
  return <Grid label="Runs" rows={runs} columns={RUNS} id={(run) => run.n} sort="-start" empty="No runs are remembered." />;
}

function Story({ story }: { story: Json[] }) {
  return (
    <table class="plain">
      <thead><tr><th scope="col">when</th><th scope="col">from</th><th scope="col">to</th><th scope="col">because of</th><th scope="col">with it</th></tr></thead>
      <tbody>
        {story.map(([key, from, to, others, stimulus, time], index) => (
          <tr key={index}>
            <td>{clock(time, true)}</td><td>{from}</td><td>{to}</td><td class="key">{stimulus}</td>
            <td class="key">{Object.entries(others ?? {}).filter(([other]) => other !== key).map(([other, state]) => `${other} → ${state}`).join(", ")}</td>
          </tr>
        ))}
      </tbody>
    </table>
  );
}

// With the inputs and runs of this task, not of the kind's first.
function FailureOf({ id, name, task }: { id: number; name: string; task: Json }) {
  const { data, error } = useAnswer("failure", { id });
  return <>{<Problem error={error} />}{data && <FailureBody failure={{ ...data, inputs: task.inputs ?? null }} name={name} runs={task.runs} />}</>;
}

export function Task({ name }: PageProps) {
  const { data, error } = useAnswer("task", { key: name }, 3);
  const story = useAnswer("story", { key: name }, 3).data;
  const unknown = data && data.runs.length === 0 && data.failures.length === 0 && !data.scheduler?.known;
  const last = data?.runs[0];
  return (
    <>
      <h1 class="name key">{name}</h1>
      <Problem error={error} />
      {unknown && <Empty>No task of this name is known: it was never here, or it was forgotten. Keys are written as Python's str(key).</Empty>}
      {data && !unknown && (
        <>
          <dl class="stats">
            <Stat name="prefix" value={data.prefix ?? "–"} />
            <Stat name="runs" value={data.runs.length} note={last && <Go href={`tasks?key=${encodeURIComponent(name ?? "")}`}>last {clock(last.start, true)}</Go>} />
            <Stat name="took" value={duration(last?.duration)} />
            <Stat name="result" value={bytes(last?.nbytes)} note={last?.type ?? undefined} />
            <Stat name="failures" value={data.failures.length} alarm={data.failures.length > 0} />
          </dl>
          {data.failures.map((id: number) => <FailureOf key={id} id={id} name={name ?? ""} task={data} />)}
          {data.failures.length === 0 && <Chain name={name ?? ""} given={null} />}
          {data.scheduler && <Panel title={<Go href={whyHref(name ?? "")}>Where it is</Go>}><WhyBody why={data.scheduler} /></Panel>}
          <Neighbourhood name={name ?? ""} />
          {data.failures.length === 0 && <Attempts name={name ?? ""} runs={data.runs} given={null} />}
          <Panel title="Runs"><RunsGrid runs={data.runs} /></Panel>
          {story?.length > 0 && <Panel title="Story" side="the scheduler's moves, oldest first"><Story story={story} /></Panel>}
          {data.failures.length === 0 && <Panel title="Look closer"><LookCloser name={name ?? ""} /></Panel>}
        </>
      )}
    </>
  );
}
