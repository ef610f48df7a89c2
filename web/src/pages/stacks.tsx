// What runs at this moment, line by line, asked of the workers.
import { useWorkers, workersHere } from "../data/tables";
import { place, setQuery } from "../base/route";
import type { PageProps } from "../pages";
import { Choice, Empty, Panel, Problem, TaskLink, WorkerLink } from "../parts/common";
import { useAnswer } from "../wire/api";
import type { Json } from "../wire/channels";

export function Stacks({ name }: PageProps) {
  useWorkers();
  const here = workersHere();
  const ofTask = place.value.path.startsWith("info/call-stack/");
  const chosen = name ?? place.value.query.get("worker") ?? here[0]?.address;
  const { data, error, ask } = useAnswer(chosen && "stacks", ofTask ? { key: chosen } : { worker: chosen });
  return (
    <>
      <div class="tools">
        {name === undefined && here.length > 0 && (
          <Choice label="worker" value={chosen ?? ""} options={here.map((row) => [row.address, row.name] as const)} onChange={(worker) => setQuery({ worker })} />
        )}
        <button type="button" onClick={ask}>look again</button>
      </div>
      <Problem error={error} />
      {chosen === undefined && <Empty>No workers.</Empty>}
      {data?.stacks.length === 0 && <Empty>Nothing runs there now.</Empty>}
      {data?.stacks.map((stack: Json) => (
        <Panel key={`${stack.worker}/${stack.key}`} title={<TaskLink name={stack.key} />} side={<WorkerLink address={stack.worker} />}>
          <pre class="stack">{stack.frames.join("\n")}</pre>
        </Panel>
      ))}
    </>
  );
}
