// How the scheduler itself is: does its loop turn, what came in, what it could not record.
import { clock, count, duration, percent } from "../base/format";
import { history } from "../data/history";
import { summary } from "../data/tables";
import { Chart } from "../parts/chart";
import { Copy, Panel, Problem, Stat } from "../parts/common";
import { Grid, type GridColumn } from "../parts/grid";
import { useAnswer } from "../wire/api";
import { keptName } from "../wire/base";
import { report } from "../wire/offline";
import { Graphs } from "./logs";
import { WorkerStates } from "./overview";

export function LoopChart({ height = 150 }: { height?: number }) {
  const { time, values } = history.value;
  return <Chart label="Longest turn of the loop" time={time} unit={duration} height={height} lines={[{ name: "longest turn", values: values.loop_longest, color: "--c-processing", fill: true }]} />;
}

const LONG_SECONDS = 0.25;

interface KindRow {
  kind: string; count: number; busy: number; longest: number;
}

const KINDS: readonly GridColumn<KindRow>[] = [
  { id: "kind", title: "message", text: true, grow: true, value: (row) => row.kind },
  { id: "count", title: "times", says: "calls, or batches of messages that begin with one", value: (row) => row.count, cell: (row) => count(row.count) },
  { id: "busy", title: "in all", value: (row) => row.busy, cell: (row) => duration(row.busy) },
  { id: "mean", title: "mean", value: (row) => row.busy / row.count, cell: (row) => duration(row.busy / row.count) },
  { id: "longest", title: "longest", value: (row) => row.longest, cell: (row) => duration(row.longest) },
];

function Kinds() {
  const { data, error } = useAnswer("loop", {}, 2);
  return (
    <>
      <Problem error={error} />
      <Grid label="The loop's time by message" rows={(data?.kinds ?? []) as KindRow[]} columns={KINDS} id={(row) => row.kind} sort="-longest" empty="Nothing came yet." />
    </>
  );
}

export function Scheduler() {
  const row = summary.value;
  const { data, error } = useAnswer("summary", {}, 2);
  const address: string | undefined = data?.cluster.address;
  return (
    <>
      <Problem error={error} />
      <dl class="stats">
        <Stat name="state" value={row?.state === 0 ? "● running" : row?.state === 1 ? "○ ended" : "✕ died"} note={row?.reason || undefined} alarm={row !== undefined && row.state !== 0} />
        <Stat name="since" value={clock(data?.cluster.started)} note={data && duration(data.at - data.cluster.started)} />
        <Stat name="loop busy" value={percent(row?.loopBusy)} note={data && `${count(data.loop.turns)} turns`} />
        <Stat name="longest turn" value={duration(row?.longestTurn)} note={data && `${count(data.loop.long_turns)} over 5 ms`} alarm={(row?.longestTurn ?? 0) > LONG_SECONDS} />
        <Stat name="clients" value={count(row?.clients)} />
        <Stat name="graphs" value={count(row?.graphs)} />
        <Stat name="workers wanted" value={count(row?.desired)} note={`${count(row?.workers)} here`} title="what adaptive scaling would have" />
        <Stat name="records dropped" value={count(row?.dropped)} note={data && `${count(data.ring.gaps)} gaps`} alarm={(row?.dropped ?? 0) > 0} />
        <Stat name="version" value={data?.cluster.version ?? "–"} note={data && `process ${data.cluster.pid}`} />
      </dl>
      {address !== undefined && <Panel title="Address" side={data?.cluster.id}><Copy text={`Client("${address}")`} /></Panel>}
      <div class="columns">
        <Panel title="Longest turn of the loop" side="no request waits longer than this"><LoopChart /></Panel>
        <Panel title="Workers">{row && <WorkerStates row={row} />}</Panel>
      </div>
      {report() === undefined && keptName() === undefined && <Panel title="What its turns were for" side="since it began"><Kinds /></Panel>}
      <Panel title="Graphs that came"><Graphs /></Panel>
    </>
  );
}
