// A task among its neighbours: who needs what, some steps to either side; and of one that failed, which task really did.
import { useState } from "preact/hooks";
import { bytes, count, plural, shortKey } from "../base/format";
import { STATES, type State } from "../base/palette";
import { hrefOf, taskHref, whyHref } from "../base/route";
import { oddities } from "../data/odd";
import { useWorkers, workers } from "../data/tables";
import { layout } from "../draw/layers";
import { Choice, Go, Panel, Problem, TaskLink } from "../parts/common";
import { useAnswer } from "../wire/api";
import { keptName } from "../wire/base";
import type { Json } from "../wire/channels";
import { report } from "../wire/offline";

const WIDTH = 176;
const HEIGHT = 38;
const GAP_X = 48;
const GAP_Y = 10;
const LETTERS = 22;

// Only a scheduler that is there knows who is around.
export const isAsked = (): boolean => report() === undefined && keptName() === undefined;

const stateOf = (word: string): State => STATES.find((state) => state.id === word || state.name === word || (word === "no-worker" && state.id === "noWorker")) ?? STATES[1];

// Its end tells tasks of a kind apart.
function fitted(key: string): string {
  const short = shortKey(key);
  return short.length <= LETTERS ? short : `${short.slice(0, 9)}…${short.slice(10 - LETTERS)}`;
}

function workerNames(addresses: readonly string[]): string {
  const known = new Map(workers.list().map((row) => [row.address, row.name]));
  return addresses.map((address) => known.get(address) || address).join(", ");
}

function Node({ task, middle, beyond, x, y }: { task: Json; middle: boolean; beyond: number; x: number; y: number }) {
  const state = stateOf(task.state);
  const where = workerNames(task.workers);
  const says = `${task.key}: ${state.name}${where && ` on ${where}`}${task.nbytes === null ? "" : `, ${bytes(task.nbytes)}`}${beyond > 0 ? `; ${plural(beyond, "more neighbour")} not shown` : ""}`;
  return (
    <a data-page="" href={hrefOf(taskHref(task.key))} class={middle ? "node middle" : "node"} aria-current={middle ? "true" : undefined}>
      <title>{says}</title>
      <rect x={x} y={y} width={WIDTH} height={HEIGHT} />
      <rect x={x} y={y} width={4} height={HEIGHT} class={`edge f-${state.id}`} />
      <text x={x + 10} y={y + 15}>{fitted(task.key)}</text>
      <text x={x + 10} y={y + 30} class="dim">{state.sign} {state.name}{where && ` · ${where.length > 14 ? `${where.slice(0, 13)}…` : where}`}{beyond > 0 && ` · +${count(beyond)}`}</text>
    </a>
  );
}

function Picture({ tasks, edges }: { tasks: readonly Json[]; edges: readonly (readonly [number, number])[] }) {
  const placed = layout(tasks.map((_, index) => index), edges);
  const at = placed.nodes.map((node) => ({ x: 8 + node.layer * (WIDTH + GAP_X), y: 8 + (node.row + (placed.rows - 1) / 2) * (HEIGHT + GAP_Y) }));
  const width = placed.layers * (WIDTH + GAP_X) - GAP_X + 16;
  const height = placed.rows * (HEIGHT + GAP_Y) + 16;
  const shown = tasks.map((_, index) => edges.reduce((sum, [from, to]) => sum + Number(from === index) + Number(to === index), 0));
  return (
    <div class="scroll graph around" tabIndex={0} role="region" aria-label="Neighbourhood">
      <svg width={width} height={height} viewBox={`0 0 ${width} ${height}`} role="group" aria-label={`${plural(tasks.length, "task")}, ${plural(edges.length, "dependency", "dependencies")}`}>
        {edges.map(([from, to]) => {
          const [a, b] = [at[from], at[to]];
          const bend = Math.max(16, (b.x - a.x - WIDTH) / 2);
          const failed = tasks[from].state === "erred" && tasks[to].state === "erred";
          return <path key={`${from}/${to}`} class={failed ? "link failed" : "link"} d={`M${a.x + WIDTH} ${a.y + HEIGHT / 2}C${a.x + WIDTH + bend} ${a.y + HEIGHT / 2} ${b.x - bend} ${b.y + HEIGHT / 2} ${b.x} ${b.y + HEIGHT / 2}`} />;
        })}
        {tasks.map((task, index) => (
          <Node key={task.key} task={task} middle={index === 0} beyond={task.inputs_total + task.users_total - shown[index]} x={at[index].x} y={at[index].y} />
        ))}
      </svg>
    </div>
  );
}

// The same as words, for who cannot see the picture, and for counting.
function States({ tasks }: { tasks: readonly Json[] }) {
  const parts = STATES.map((state) => ({ state, many: tasks.filter((task) => stateOf(task.state) === state).length })).filter((part) => part.many > 0);
  return <>{parts.map(({ state, many }) => `${state.sign} ${count(many)} ${state.name}`).join("   ")}</>;
}

export function Neighbourhood({ name }: { name: string }) {
  useWorkers();
  const [hops, setHops] = useState("1");
  const { data, error } = useAnswer(isAsked() ? "neighbourhood" : undefined, { key: name, hops }, 5);
  if (!isAsked() || data?.known === false) {
    return null;
  }
  const tools = <Choice label="steps" value={hops} options={[["1", "1"], ["2", "2"], ["3", "3"]]} onChange={setHops} />;
  return (
    <Panel title="Around it" side={tools}>
      <Problem error={error} />
      {data && <Picture tasks={data.tasks} edges={data.edges} />}
      {data && <p class="hint">{plural(data.tasks.length, "task")}, inputs left of what uses them: <States tasks={data.tasks} />. {data.tasks.length >= 200 ? "More are not shown; +n counts what is left out." : "+n counts neighbours that are not shown."}</p>}
    </Panel>
  );
}

// The inputs that are not like the others, as far as they are known.
function Odd({ given }: { given: Json }) {
  const odd = oddities(given.inputs);
  if (odd.size === 0) {
    return <p class="hint">{given.inputs.length === 0 ? "It has no inputs." : "None of its inputs stands out: they are listed below, or on its page."}</p>;
  }
  return (
    <ul class="list">
      {[...odd].slice(0, 10).map(([key, says]) => <li key={key}><span class="bad">⚠</span> its input <TaskLink name={key} /> {says}</li>)}
      {odd.size > 10 && <li class="dim">and {count(odd.size - 10)} more</li>}
    </ul>
  );
}

// From the failed task to the one that failed by itself, and to the input that may be why. `given`: of the task itself.
export function Chain({ name, given }: { name: string; given: Json | null }) {
  const { data } = useAnswer(isAsked() ? "neighbourhood" : undefined, { key: name, hops: 3 });
  const path: string[] = data?.path?.length > 0 ? data.path : [name];
  const last = path[path.length - 1];
  const elsewhere = useAnswer(last !== name ? "task" : undefined, { key: last }).data;
  const inputs: Json | null = last === name ? given : (elsewhere?.inputs ?? null);
  const spoiled = (data?.tasks ?? []).filter((task: Json) => task.state === "erred" && !path.includes(task.key));
  const nothing = path.length === 1 && inputs === null && spoiled.length === 0;
  if (nothing || (data?.known === true && data.blamed === null)) {
    return null;
  }
  return (
    <Panel title="Which task it was">
      <ol class="chain">
        {path.map((key, index) => (
          <li key={key}>
            {index < path.length - 1
              ? <>✕ <TaskLink name={key} /> <span class="dim">failed because its input failed:</span></>
              : <><b class="bad">✕</b> <TaskLink name={key} /> <b>failed by itself</b> <Go class="dim" href={whyHref(key)}>why</Go></>}
          </li>
        ))}
      </ol>
      {inputs && <Odd given={inputs} />}
      {spoiled.length > 0 && (
        <details>
          <summary>{plural(spoiled.length, "task")} within three steps failed with it</summary>
          <ul class="list">{spoiled.map((task: Json) => <li key={task.key}><TaskLink name={task.key} /></li>)}</ul>
        </details>
      )}
    </Panel>
  );
}
