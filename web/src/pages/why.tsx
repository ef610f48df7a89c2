// Why a task is where it is, as the scheduler itself explains it.
import { useState } from "preact/hooks";
import { count, plural } from "../base/format";
import { go, whyHref } from "../base/route";
import type { PageProps } from "../pages";
import { Problem, TaskLink, WorkerLink } from "../parts/common";
import { Grid, type GridColumn } from "../parts/grid";
import { useAnswer } from "../wire/api";
import type { Json } from "../wire/channels";
import { Neighbourhood } from "./around";

const WORKERS: readonly GridColumn<Json>[] = [
  { id: "address", title: "worker", text: true, value: (row) => row.address, cell: (row) => <WorkerLink address={row.address} /> },
  { id: "eligible", title: "may run it", text: true, value: (row) => (row.eligible ? "yes" : "no"), cell: (row) => (row.eligible ? "● yes" : "✕ no") },
  { id: "reason", title: "because", text: true, grow: true, value: (row) => row.reason ?? "" },
];

interface Neighbour {
  key: string;
  state: string;
}

// What it needs, or who needs it.
function Neighbours({ title, list, total }: { title: string; list: readonly Neighbour[]; total: number }) {
  if (total === 0) {
    return null;
  }
  return (
    <details open={list.length <= 10}>
      <summary>{plural(total, title)}{total > list.length ? `, the first ${count(list.length)}` : ""}</summary>
      <ul class="list">{list.map(({ key, state }) => <li key={key}><TaskLink name={key} /> <span class="dim">{state}</span></li>)}</ul>
    </details>
  );
}

export function WhyBody({ why }: { why: Json }) {
  const may = why.workers.filter((worker: Json) => worker.eligible).length;
  return (
    <div class="why">
      <p class="answer">{why.summary}</p>
      {why.queue_place > 0 && <p>Place {count(why.queue_place)} of the queue.</p>}
      {why.root_cause && <p>Following what is missing to its end: <TaskLink name={why.root_cause} /></p>}
      {why.advice.length > 0 && <ul class="advice">{why.advice.map((line: string) => <li key={line}>{line}</li>)}</ul>}
      {why.missing.length > 0 && (
        <details open={why.missing.length <= 10}>
          <summary>{plural(why.missing_total, "input")} missing</summary>
          <ul class="list">{why.missing.slice(0, 200).map((key: string) => <li key={key}><TaskLink name={key} /></li>)}</ul>
        </details>
      )}
      <Neighbours title="input" list={why.inputs ?? []} total={why.inputs_total ?? 0} />
      <Neighbours title="user" list={why.users ?? []} total={why.users_total ?? 0} />
      {why.workers.length > 0 && (
        <details open={may < why.workers.length}>
          <summary>{count(may)} of {plural(why.workers.length, "worker")} may run it</summary>
          <Grid label="Workers" rows={why.workers} columns={WORKERS} id={(row) => row.address} sort="eligible" />
        </details>
      )}
    </div>
  );
}

export function Why({ name }: PageProps) {
  const [text, setText] = useState(name ?? "");
  const { data, error } = useAnswer(name && "why", { key: name }, 3);
  return (
    <>
      <form class="tools" onSubmit={(event) => { event.preventDefault(); if (text.trim() !== "") go(whyHref(text.trim())); }}>
        <label class="wide">key <input value={text} onInput={(event) => setText(event.currentTarget.value)} spellcheck={false} autoComplete="off" placeholder="as str(key): inc-1, or ('sum-9c5f…', 0, 3)" /></label>
        <button type="submit">why</button>
      </form>
      {name && <h1 class="name key">{name}</h1>}
      <Problem error={error} />
      {data && <WhyBody why={data} />}
      {name && data?.known && <Neighbourhood name={name} />}
    </>
  );
}
