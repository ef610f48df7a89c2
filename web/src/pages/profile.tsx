// Where the time of the workers' threads goes, function by function: a flame graph, and the same as a table.
import { useEffect, useMemo, useRef, useState } from "preact/hooks";
import { count, percent } from "../base/format";
import { css, dark, textOn, type Rgb } from "../base/palette";
import { place, range, setQuery } from "../base/route";
import { prefixes } from "../data/prefixes";
import { useGroups, useWorkers, workersHere } from "../data/tables";
import { boxes, collapsed, difference, functionOf, sandwich, speedscope, subtree, totals, type Box, type DifferenceTree, type ProfileTree, type Total } from "../draw/flame";
import { Choice, Empty, Go, Panel, Problem, useSize } from "../parts/common";
import { Grid, type GridColumn } from "../parts/grid";
import { useAnswer } from "../wire/api";

const ROW = 18;

// The same function has the same colour wherever it stands.
function colorOf(text: string): Rgb {
  let hash = 0;
  for (let index = 0; index < text.length; index++) {
    hash = (hash * 31 + text.charCodeAt(index)) | 0;
  }
  const share = (hash >>> 8) / 0xffffff;
  return dark.value ? [120 + share * 70, 90 + share * 50, 60] : [250 - share * 30, 205 - share * 60, 130 - share * 50];
}

const labelOf = (box: Box): string => box.tree.description.name || (box.depth === 0 ? "all" : box.tree.identifier);
const whereOf = (box: Box): string => `${box.tree.description.filename ?? ""}:${box.tree.description.line_number ?? ""}`;

const LESS: Rgb = [0, 114, 178];
const MORE: Rgb = [213, 94, 0];
const changeOf = (tree: ProfileTree): number | undefined => ("after" in tree ? (tree as DifferenceTree).after - (tree as DifferenceTree).before : undefined);
const signedPercent = (share: number): string => `${share > 0 ? "+" : share < 0 ? "−" : "±"}${percent(Math.abs(share))}`;

// More is vermilion, less is blue, the more so the larger; both are told apart by every kind of colour vision.
function colorOfChange(change: number): Rgb {
  const part = Math.min(1, Math.sqrt(Math.abs(change) / 0.25));
  const from = dark.value ? [60, 66, 72] : [235, 235, 232];
  const to = change > 0 ? MORE : LESS;
  return [0, 1, 2].map((index) => from[index] + (to[index] - from[index]) * part) as unknown as Rgb;
}

// `up`: the root is at the bottom.
function draw(canvas: HTMLCanvasElement, list: readonly Box[], width: number, wanted: string, up: boolean): void {
  const ratio = window.devicePixelRatio || 1;
  const height = (list.reduce((most, box) => Math.max(most, box.depth), 0) + 1) * ROW;
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  canvas.style.width = `${width}px`;
  canvas.style.height = `${height}px`;
  const context = canvas.getContext("2d") as CanvasRenderingContext2D;
  context.scale(ratio, ratio);
  context.font = "11px system-ui, sans-serif";
  context.textBaseline = "middle";
  const deepest = height / ROW - 1;
  for (const box of list) {
    const x = box.left * width;
    const y = (up ? deepest - box.depth : box.depth) * ROW;
    const change = changeOf(box.tree);
    const w = Math.max(box.width * width - 1, 0.5);
    const found = wanted !== "" && labelOf(box).toLowerCase().includes(wanted);
    const color: Rgb = found ? (change === undefined ? [0, 114, 178] : [240, 228, 66]) : change !== undefined ? colorOfChange(change) : colorOf(`${box.tree.description.filename}${box.tree.description.name}`);
    context.fillStyle = css([Math.round(color[0]), Math.round(color[1]), Math.round(color[2])]);
    context.fillRect(x, y, w, ROW - 1);
    if (w > 30) {
      context.save();
      context.beginPath();
      context.rect(x, y, w - 2, ROW);
      context.clip();
      context.fillStyle = textOn(color);
      context.fillText(change === undefined ? labelOf(box) : `${signedPercent(change)} ${labelOf(box)}`, x + 4, y + ROW / 2);
      context.restore();
    }
  }
}

interface FlameProps {
  root: ProfileTree;
  wanted: string;
  label: string;
  up?: boolean;
  than?: string; // what it is the difference to
  open(box: Box): void;
}

function Over({ box, than }: { box: Box | undefined; than?: string }) {
  if (box === undefined) {
    return <>Point at a box; click to see it alone.</>;
  }
  const change = changeOf(box.tree);
  const where = <span class="dim">{whereOf(box)}</span>;
  if (change !== undefined) {
    const { before, after } = box.tree as DifferenceTree;
    return <><b>{labelOf(box)}</b> {signedPercent(change)}: {percent(before)} of {than}, {percent(after)} here · {where}</>;
  }
  return <><b>{labelOf(box)}</b> {percent(box.width)} · {count(box.tree.count)} samples, {count(box.self)} its own · {where}</>;
}

function Flame({ root, wanted, label, up = false, than, open }: FlameProps) {
  const { element, width } = useSize<HTMLDivElement>();
  const canvas = useRef<HTMLCanvasElement>(null);
  const [over, setOver] = useState<Box | undefined>(undefined);
  const list = width > 0 ? boxes(root, 0.5 / width) : [];
  useEffect(() => {
    if (canvas.current !== null && width > 0) {
      draw(canvas.current, list, width, wanted, up);
    }
  });
  const at = (event: MouseEvent): Box | undefined => {
    const row = Math.floor(event.offsetY / ROW);
    const depth = up ? list.reduce((most, box) => Math.max(most, box.depth), 0) - row : row;
    const share = event.offsetX / width;
    return list.find((box) => box.depth === depth && share >= box.left && share < box.left + box.width);
  };
  return (
    <>
      <p class="over" aria-hidden="true"><Over box={over} than={than} /></p>
      <div class={up ? "scroll flame up" : "scroll flame"} ref={element} tabIndex={0} role="region" aria-label={label}>
        <canvas ref={canvas} role="img" aria-label={`${label}; the table below has the same numbers`}
          onMouseMove={(event) => setOver(at(event))} onMouseLeave={() => setOver(undefined)}
          onClick={(event) => { const box = at(event); if (box !== undefined) open(box); }} />
      </div>
    </>
  );
}

function columns(all: number): GridColumn<Total>[] {
  return [
    { id: "name", title: "function", text: true, value: (row) => row.name, cell: (row) => <Go href={`profile?${around(`${row.place.replace(/:[^:]*$/, "")}\n${row.name}`)}`} title="who calls it, and what it calls">{row.name}</Go> },
    { id: "place", title: "where", text: true, grow: true, value: (row) => row.place, cell: (row) => <span class="key">{row.place}</span> },
    { id: "self", title: "itself", value: (row) => row.self, cell: (row) => percent(row.self / all) },
    { id: "total", title: "with what it called", value: (row) => row.total, cell: (row) => percent(row.total / all) },
    { id: "samples", title: "samples", value: (row) => row.total, cell: (row) => count(row.total) },
  ];
}

// The same page about one function.
function around(id: string): string {
  const query = new URLSearchParams(place.value.query);
  query.set("function", id);
  if (place.value.path.endsWith("profile-server")) {
    query.set("server", "1");
  }
  ["from", "to"].forEach((name) => query.delete(name)); // links have them by themselves
  return query.toString();
}

interface Change {
  name: string;
  before: number;
  after: number;
}

const changesColumns = (than: string): GridColumn<Change>[] => [
  { id: "name", title: "function", text: true, grow: true, value: (row) => row.name },
  { id: "change", title: "difference", says: "in shares of all samples", value: (row) => Math.abs(row.after - row.before), cell: (row) => signedPercent(row.after - row.before) },
  { id: "before", title: than, value: (row) => row.before, cell: (row) => percent(row.before) },
  { id: "after", title: "here", value: (row) => row.after, cell: (row) => percent(row.after) },
];

// With what they called, as shares of each.
function changesOf(before: ProfileTree, after: ProfileTree): Change[] {
  const rows = new Map<string, Change>();
  for (const [tree, side] of [[before, "before"], [after, "after"]] as const) {
    for (const { name, place: where, total } of totals(tree)) {
      const row = rows.get(`${name} ${where}`) ?? { name: `${name}  ${where}`, before: 0, after: 0 };
      row[side] = total / Math.max(tree.count, 1);
      rows.set(`${name} ${where}`, row);
    }
  }
  return [...rows.values()];
}

function Difference({ before, after, than, wanted }: { before: ProfileTree; after: ProfileTree; than: string; wanted: string }) {
  const both = useMemo(() => difference(before, after), [before, after]);
  const changes = useMemo(() => changesOf(before, after), [before, after]);
  const [path, setPath] = useState("");
  const label = `Difference of two flame graphs, ${count(before.count)} samples of ${than} and ${count(after.count)} here`;
  return (
    <>
      <p class="hint"><span class="box" style={{ background: css(MORE) }} aria-hidden="true" /> + more of the time than {than}, <span class="box" style={{ background: css(LESS) }} aria-hidden="true" /> − less; a box is as wide as the mean of both. {path !== "" && <button type="button" onClick={() => setPath("")}>all of it</button>}</p>
      <Flame root={subtree(both, path)} wanted={wanted} label={label} than={than} open={(box) => setPath(box.path === "" ? "" : path + box.path)} />
      <Panel title="Functions" side={`${count(before.count)} samples of ${than}, ${count(after.count)} here`} class="fill">
        <Grid tall label="Changes" rows={changes} columns={changesColumns(than)} id={(row) => row.name} sort="-change" />
      </Panel>
    </>
  );
}

function Sandwich({ root, id, wanted }: { root: ProfileTree; id: string; wanted: string }) {
  const { callers, callees } = useMemo(() => sandwich(root, id), [root, id]);
  const to = (box: Box) => box.depth > 0 && setQuery({ function: functionOf(box.tree) });
  if (callees.count === 0) {
    return <Empty>There are no samples of this function here.</Empty>;
  }
  return (
    <>
      <p class="answer"><b>{id.split("\n")[1]}</b> has {percent(callees.count / root.count)} of the time. Who calls it is above it, what it calls is below.</p>
      <Flame root={callers} wanted={wanted} label="Who calls it" up open={to} />
      <Flame root={callees} wanted={wanted} label="What it calls" open={to} />
      <Panel title="What it calls" class="fill"><Grid tall label="Functions" rows={totals(callees)} columns={columns(callees.count)} id={(row) => `${row.name}${row.place}`} sort="-total" /></Panel>
    </>
  );
}

function save(name: string, text: string): void {
  const url = URL.createObjectURL(new Blob([text], { type: "application/octet-stream" }));
  const link = document.createElement("a");
  link.href = url;
  link.download = name;
  link.click();
  URL.revokeObjectURL(url);
}

type Asked = Record<string, string | number | undefined>;

// What can be compared with what is asked for: the same with one thing else.
function others(asked: Asked): [string, string, Asked][] {
  const { since, until, worker, prefix } = asked as { since?: number; until?: number; worker?: string; prefix?: string };
  const found: [string, string, Asked][] = [];
  if (since !== undefined && until !== undefined) {
    found.push(["before", "the time before", { ...asked, since: 2 * since - until, until: since }], ["always", "all of the time", { ...asked, since: undefined, until: undefined }]);
  }
  if (worker !== undefined) {
    found.push(["workers", "all workers", { ...asked, worker: undefined }]);
  }
  if (prefix !== undefined) {
    found.push(["prefixes", "all prefixes", { ...asked, prefix: undefined }]);
  }
  return found;
}

export function Profile() {
  useGroups();
  const here = useWorkers() && workersHere();
  const query = place.value.query;
  const server = query.get("server") === "1" || place.value.path.endsWith("profile-server");
  const prefix = query.get("prefix") ?? undefined;
  const worker = query.get("worker") ?? undefined;
  const asked: Asked = { prefix, worker, server: server ? 1 : undefined, since: range.value?.since, until: range.value?.until };
  const than = others(asked);
  const other = than.find(([id]) => id === query.get("than"));
  const { data, error, ask } = useAnswer("profile", asked);
  const against = useAnswer(other && "profile", other?.[2]);
  const [path, setPath] = useState("");
  const [wanted, setWanted] = useState("");
  const root = data && subtree(data as ProfileTree, path);
  const id = query.get("function") ?? undefined;
  const find = wanted.toLowerCase();
  const empty = root?.count === 0 || (other !== undefined && against.data?.count === 0);
  return (
    <>
      <div class="tools">
        <Choice label="of" value={server ? "1" : "0"} options={[["0", "tasks"], ["1", "the workers themselves"]]} onChange={(value) => setQuery({ server: value === "1" ? "1" : undefined })} />
        <Choice label="prefix" value={prefix ?? ""} options={[["", "all"], ...prefixes().map((row) => [row.prefix, row.prefix] as const)]} onChange={(value) => setQuery({ prefix: value || undefined })} />
        <Choice label="worker" value={worker ?? ""} options={[["", "all"], ...here.map((row) => [String(row.id), row.name] as const)]} onChange={(value) => setQuery({ worker: value || undefined })} />
        <Choice label="compare with" value={other?.[0] ?? ""} options={[["", than.length > 0 ? "nothing" : "(choose range, prefix, worker)"], ...than.map(([name, title]): [string, string] => [name, title])]} onChange={(value) => setQuery({ than: value || undefined, function: undefined })} />
        <label>find <input value={wanted} onInput={(event) => setWanted(event.currentTarget.value)} spellcheck={false} autoComplete="off" /></label>
        {id !== undefined && <button type="button" onClick={() => setQuery({ function: undefined })}>all functions</button>}
        {path !== "" && id === undefined && other === undefined && <button type="button" onClick={() => setPath("")}>all of it</button>}
        <button type="button" onClick={() => { ask(); against.ask(); }}>look again</button>
        {data?.count > 0 && <button type="button" onClick={() => save("cask-profile.speedscope.json", speedscope(data, "cask"))}>save for speedscope</button>}
        {data?.count > 0 && <button type="button" onClick={() => save("cask-profile.collapsed.txt", collapsed(data))}>save as collapsed stacks</button>}
      </div>
      <Problem error={error ?? against.error} />
      {root && empty && <Empty>No samples{root.count > 0 ? " of what it is compared with" : ""}. Workers look at their threads while tasks run, if distributed.worker.profile is on.</Empty>}
      {root && !empty && other !== undefined && against.data && <Difference before={against.data} after={data} than={other[1]} wanted={find} />}
      {root && !empty && other === undefined && id !== undefined && <Sandwich root={data} id={id} wanted={find} />}
      {root && !empty && other === undefined && id === undefined && (
        <>
          <Flame root={root} wanted={find} label={`Flame graph of ${count(root.count)} samples, the heaviest left`} open={(box) => setPath(box.path === "" ? "" : path + box.path)} />
          <Panel title="Functions" side={`${count(root.count)} samples; a name leads to who calls it and what it calls`} class="fill">
            <Grid tall label="Functions" rows={totals(root)} columns={columns(root.count)} id={(row) => `${row.name}${row.place}`} sort="-self" />
          </Panel>
        </>
      )}
    </>
  );
}
