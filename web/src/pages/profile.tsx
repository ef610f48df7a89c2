// Where the time of the workers' threads goes, function by function: a flame graph, and the same as a table.
import { useEffect, useRef, useState } from "preact/hooks";
import { count, percent } from "../base/format";
import { css, dark, textOn, type Rgb } from "../base/palette";
import { place, range, setQuery } from "../base/route";
import { prefixes } from "../data/prefixes";
import { useGroups, useWorkers, workersHere } from "../data/tables";
import { boxes, subtree, totals, type Box, type ProfileTree, type Total } from "../draw/flame";
import { Choice, Empty, Panel, Problem, useSize } from "../parts/common";
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

function draw(canvas: HTMLCanvasElement, list: readonly Box[], width: number, wanted: string): void {
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
  for (const box of list) {
    const x = box.left * width;
    const w = Math.max(box.width * width - 1, 0.5);
    const found = wanted !== "" && labelOf(box).toLowerCase().includes(wanted);
    const color: Rgb = found ? [0, 114, 178] : colorOf(`${box.tree.description.filename}${box.tree.description.name}`);
    context.fillStyle = css([Math.round(color[0]), Math.round(color[1]), Math.round(color[2])]);
    context.fillRect(x, box.depth * ROW, w, ROW - 1);
    if (w > 30) {
      context.save();
      context.beginPath();
      context.rect(x, box.depth * ROW, w - 2, ROW);
      context.clip();
      context.fillStyle = textOn(color);
      context.fillText(labelOf(box), x + 4, box.depth * ROW + ROW / 2);
      context.restore();
    }
  }
}

function Flame({ root, wanted, open }: { root: ProfileTree; wanted: string; open(path: string): void }) {
  const { element, width } = useSize<HTMLDivElement>();
  const canvas = useRef<HTMLCanvasElement>(null);
  const [over, setOver] = useState<Box | undefined>(undefined);
  const list = width > 0 ? boxes(root, 0.5 / width) : [];
  useEffect(() => {
    if (canvas.current !== null && width > 0) {
      draw(canvas.current, list, width, wanted);
    }
  });
  const at = (event: MouseEvent): Box | undefined => {
    const depth = Math.floor(event.offsetY / ROW);
    const share = event.offsetX / width;
    return list.find((box) => box.depth === depth && share >= box.left && share < box.left + box.width);
  };
  return (
    <>
      <p class="over" aria-hidden="true">{over ? <><b>{labelOf(over)}</b> {percent(over.width)} · {count(over.tree.count)} samples, {count(over.self)} its own · <span class="dim">{whereOf(over)}</span></> : "Point at a box; click to see it alone."}</p>
      <div class="scroll flame" ref={element} tabIndex={0} role="region" aria-label="Flame graph">
        <canvas ref={canvas} role="img" aria-label={`Flame graph of ${count(root.count)} samples; the table below has the same numbers`}
          onMouseMove={(event) => setOver(at(event))} onMouseLeave={() => setOver(undefined)}
          onClick={(event) => { const box = at(event); if (box !== undefined) open(box.path); }} />
      </div>
    </>
  );
}

function columns(all: number): GridColumn<Total>[] {
  return [
    { id: "name", title: "function", text: true, value: (row) => row.name },
    { id: "place", title: "where", text: true, grow: true, value: (row) => row.place, cell: (row) => <span class="key">{row.place}</span> },
    { id: "self", title: "itself", value: (row) => row.self, cell: (row) => percent(row.self / all) },
    { id: "total", title: "with what it called", value: (row) => row.total, cell: (row) => percent(row.total / all) },
    { id: "samples", title: "samples", value: (row) => row.total, cell: (row) => count(row.total) },
  ];
}

export function Profile() {
  useGroups();
  const here = useWorkers() && workersHere();
  const query = place.value.query;
  const server = query.get("server") === "1" || place.value.path.endsWith("profile-server");
  const prefix = query.get("prefix") ?? undefined;
  const worker = query.get("worker") ?? undefined;
  const { data, error, ask } = useAnswer("profile", { prefix, worker, server: server ? 1 : undefined, since: range.value?.since, until: range.value?.until });
  const [path, setPath] = useState("");
  const [wanted, setWanted] = useState("");
  const root = data && subtree(data as ProfileTree, path);
  return (
    <>
      <div class="tools">
        <Choice label="of" value={server ? "1" : "0"} options={[["0", "tasks"], ["1", "the workers themselves"]]} onChange={(value) => setQuery({ server: value === "1" ? "1" : undefined })} />
        <Choice label="prefix" value={prefix ?? ""} options={[["", "all"], ...prefixes().map((row) => [row.prefix, row.prefix] as const)]} onChange={(value) => setQuery({ prefix: value || undefined })} />
        <Choice label="worker" value={worker ?? ""} options={[["", "all"], ...here.map((row) => [String(row.id), row.name] as const)]} onChange={(value) => setQuery({ worker: value || undefined })} />
        <label>find <input value={wanted} onInput={(event) => setWanted(event.currentTarget.value)} spellcheck={false} autoComplete="off" /></label>
        {path !== "" && <button type="button" onClick={() => setPath("")}>all of it</button>}
        <button type="button" onClick={ask}>look again</button>
      </div>
      <Problem error={error} />
      {root && root.count === 0 && <Empty>No samples. Workers look at their threads while tasks run, if distributed.worker.profile is on.</Empty>}
      {root && root.count > 0 && (
        <>
          <Flame root={root} wanted={wanted.toLowerCase()} open={(below) => setPath(below === "" ? "" : path + below)} />
          <Panel title="Functions" side={`${count(root.count)} samples`} class="fill">
            <Grid tall label="Functions" rows={totals(root)} columns={columns(root.count)} id={(row) => `${row.name}${row.place}`} sort="-self" />
          </Panel>
        </>
      )}
    </>
  );
}
