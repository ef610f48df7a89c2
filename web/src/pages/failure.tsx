// One kind of failure: what was raised and where, which tasks and workers, and what to type to look closer.
import { clock, count } from "../base/format";
import { useWorkers, workers } from "../data/tables";
import { folds, framesOf, type TraceFrame } from "../data/traceback";
import type { PageProps } from "../pages";
import { Copy, Panel, Problem, Stat, Swatch, TaskLink, WorkerLink, Go } from "../parts/common";
import { useAnswer } from "../wire/api";
import type { Json } from "../wire/channels";
import { whyHref } from "../base/route";
import { Chain } from "./around";
import { Attempts } from "./attempts";
import { Inputs } from "./inputs";
import { CAUSE_WORDS } from "./problems";

function Frame({ frame }: { frame: TraceFrame }) {
  return (
    <li class={frame.library === undefined ? "own" : ""}>
      <span class="at">{frame.file}:{frame.line} in <b>{frame.name}</b></span>
      {frame.source.length > 0 && <pre>{frame.source.join("\n")}</pre>}
    </li>
  );
}

export function Traceback({ text, exception }: { text: string; exception: string }) {
  const frames = framesOf(text);
  return (
    <div class="traceback">
      {frames.length === 0 && text !== "" && <pre>{text}</pre>}
      {folds(frames).map((fold, index) =>
        fold.folded ? (
          <details key={index}>
            <summary>{fold.frames.length === 1 ? "1 frame" : `${fold.frames.length} frames`} of {[...new Set(fold.frames.map((frame) => frame.library))].join(", ")}</summary>
            <ol>{fold.frames.map((frame, place) => <Frame key={place} frame={frame} />)}</ol>
          </details>
        ) : (
          <ol key={index}>{fold.frames.map((frame, place) => <Frame key={place} frame={frame} />)}</ol>
        ),
      )}
      <p class="raised">{exception}</p>
    </div>
  );
}

// As Python writes a string: keys may hold quotes and backslashes.
export function pythonKey(key: string): string {
  return /^\(.*\)$/.test(key) ? key : JSON.stringify(key);
}

// For a POSIX shell; what begins with a dash is no option.
function shellWord(text: string): string {
  return `${text.startsWith("-") ? "-- " : ""}'${text.replace(/'/g, "'\\''")}'`;
}

export function LookCloser({ name }: { name: string }) {
  return (
    <>
      <p class="hint">Run it again on your machine, under a debugger, with the inputs it had; the second way goes after the cluster's end, too, with <code>--history last</code>. Both execute its code:</p>
      <Copy text={`client.recreate_task_locally(${pythonKey(name)})`} />
      <Copy text={`cask replay ${shellWord(name)}`} />
      <p class="hint">Let the cluster try again:</p>
      <Copy text={`client.retry([Future(${pythonKey(name)}, client)])`} />
      <p class="hint">In a shell: why it is where it is, and how it came there:</p>
      <Copy text={`cask explain ${shellWord(name)}`} />
      <Copy text={`cask story ${shellWord(name)}`} />
      <p class="hint">What it printed and what it cost, if a worker of cask's ran it:</p>
      <Copy text={`cask logs ${shellWord(name)}`} />
    </>
  );
}

// Of the task that stands for its kind, what `task` says.
function AttemptsOf({ name, given }: { name: string; given: Json | null }) {
  const { data } = useAnswer("task", { key: name });
  return data ? <Attempts name={name} runs={data.runs} given={given} /> : null;
}

// `name`: of the task that is looked at, and its runs; else the first of its kind is.
export function FailureBody({ failure, name = failure.keys[0], runs }: { failure: Json; name?: string; runs?: readonly Json[] }) {
  useWorkers();
  return (
    <>
      <dl class="stats">
        <Stat name="times" value={count(failure.count)} alarm />
        <Stat name="first" value={clock(failure.first, true)} />
        <Stat name="last" value={clock(failure.last, true)} />
        <Stat name="prefix" value={<><Swatch prefix={failure.prefix} /> {failure.prefix}</>} />
        <Stat name="cause" value={CAUSE_WORDS[failure.cause] ?? failure.cause} />
      </dl>
      <Panel title="Traceback" side={failure.where}>
        <Traceback text={failure.traceback ?? ""} exception={`${failure.type}: ${failure.message}`} />
      </Panel>
      {name !== undefined && <Chain name={name} given={failure.inputs ?? null} />}
      {failure.inputs && <Inputs given={failure.inputs} />}
      {name !== undefined && (runs ? <Attempts name={name} runs={runs} given={failure.inputs ?? null} /> : <AttemptsOf name={name} given={failure.inputs ?? null} />)}
      <div class="columns">
        <Panel title="Tasks" side={failure.count > failure.keys.length ? `${failure.keys.length} of ${count(failure.count)}` : undefined}>
          <ul class="list">
            {failure.keys.map((key: string) => <li key={key}><TaskLink name={key} /> <Go class="dim" href={whyHref(key)}>why</Go></li>)}
          </ul>
        </Panel>
        <Panel title="Workers">
          <ul class="list">
            {failure.workers.map((id: number) => {
              const worker = workers.rows.get(id);
              return <li key={id}>{worker ? <WorkerLink address={worker.address} name={worker.name} /> : `worker ${id}`}</li>;
            })}
          </ul>
        </Panel>
      </div>
      {name !== undefined && <Panel title="Look closer"><LookCloser name={name} /></Panel>}
    </>
  );
}

export function Failure({ name }: PageProps) {
  const { data, error } = useAnswer("failure", { id: name });
  return (
    <>
      <h1 class="name">✕ {data ? `${data.type}: ${data.message}` : `Failure ${name}`}</h1>
      <Problem error={error} />
      {data && <FailureBody failure={data} />}
    </>
  );
}
