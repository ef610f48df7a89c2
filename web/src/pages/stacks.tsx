// What runs at this moment, line by line, asked of the workers.
import { useWorkers, workersHere } from "../data/tables";
import { place, setQuery } from "../base/route";
import type { PageProps } from "../pages";
import { Choice, Empty, Panel, Problem, TaskLink, WorkerLink } from "../parts/common";
import { useAnswer } from "../wire/api";
import type { Json } from "../wire/channels";

interface Stack {
  worker: string;
  key: string;
  frames: string[];
}

function stacksOf(answer: Json): Stack[] {
  return Object.entries((answer ?? {}) as Record<string, Record<string, string[]>>).flatMap(([worker, tasks]) =>
    Object.entries(tasks).map(([key, frames]) => ({ worker, key, frames })),
  );
}

export function Stacks({ name }: PageProps) {
  useWorkers();
  const here = workersHere();
  const ofTask = place.value.path.startsWith("info/call-stack/");
  const chosen = name ?? place.value.query.get("worker") ?? here[0]?.address;
  const { data, error, ask } = useAnswer(chosen && "stacks", ofTask ? { key: chosen } : { worker: chosen });
  const stacks = stacksOf(data);
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
      {data && stacks.length === 0 && <Empty>Nothing runs there now.</Empty>}
      {stacks.map(({ worker, key, frames }) => (
        <Panel key={`${worker}/${key}`} title={<TaskLink name={key} />} side={<WorkerLink address={worker} />}>
          <pre class="stack">{frames.join("\n")}</pre>
        </Panel>
      ))}
    </>
  );
}
