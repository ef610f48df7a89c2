// Results that went from worker to worker: a matrix, who waited for whom.
import { count, duration } from "../base/format";
import { css, sequential, textOn } from "../base/palette";
import { useWorkers, workers } from "../data/tables";
import { Empty, Panel, Problem } from "../parts/common";
import { Grid, type GridColumn } from "../parts/grid";
import { useAnswer } from "../wire/api";

interface Pair {
  from: number;
  to: number;
  count: number;
  seconds: number;
  longest: number;
}

const MATRIX_MOST = 40; // workers; beyond, cells would be too small to read
const nameOf = (id: number): string => workers.rows.get(id)?.name ?? String(id);

const PAIRS: readonly GridColumn<Pair>[] = [
  { id: "from", title: "from", text: true, value: (row) => nameOf(row.from) },
  { id: "to", title: "to", text: true, value: (row) => nameOf(row.to), grow: true },
  { id: "count", title: "transfers", value: (row) => row.count, cell: (row) => count(row.count) },
  { id: "seconds", title: "in all", value: (row) => row.seconds, cell: (row) => duration(row.seconds) },
  { id: "mean", title: "mean", value: (row) => row.seconds / row.count, cell: (row) => duration(row.seconds / row.count) },
  { id: "longest", title: "longest", value: (row) => row.longest, cell: (row) => duration(row.longest) },
];

function Matrix({ pairs }: { pairs: readonly Pair[] }) {
  const ids = [...new Set(pairs.flatMap((pair) => [pair.from, pair.to]))].sort((one, other) => one - other);
  const most = Math.max(...pairs.map((pair) => pair.seconds), 1e-9);
  const cells = new Map(pairs.map((pair) => [`${pair.from}/${pair.to}`, pair]));
  if (ids.length > MATRIX_MOST) {
    return <Empty>{count(ids.length)} workers: the table below has them all.</Empty>;
  }
  return (
    <div class="scroll" tabIndex={0} role="region" aria-label="Matrix of transfers">
      <table class="matrix">
        <thead><tr><th scope="col">from ╲ to</th>{ids.map((id) => <th key={id} scope="col">{nameOf(id)}</th>)}</tr></thead>
        <tbody>
          {ids.map((from) => (
            <tr key={from}>
              <th scope="row">{nameOf(from)}</th>
              {ids.map((to) => {
                const pair = cells.get(`${from}/${to}`);
                if (pair === undefined) {
                  return <td key={to} class="none">·</td>;
                }
                const color = sequential(pair.seconds / most);
                return <td key={to} style={{ background: css(color), color: textOn(color) }} title={`${count(pair.count)} transfers, longest ${duration(pair.longest)}`}>{duration(pair.seconds)}</td>;
              })}
            </tr>
          ))}
        </tbody>
      </table>
    </div>
  );
}

export function Transfers() {
  useWorkers();
  const { data, error } = useAnswer("transfers", {}, 2);
  const pairs: Pair[] = data?.transfers ?? [];
  return (
    <>
      <Problem error={error} />
      {data && pairs.length === 0 && <Empty>No result went from one worker to another yet.</Empty>}
      {pairs.length > 0 && <Panel title="Seconds of transfer, worker to worker"><Matrix pairs={pairs} /></Panel>}
      {pairs.length > 0 && <Panel title="Pairs"><Grid label="Pairs of workers" rows={pairs} columns={PAIRS} id={(row) => `${row.from}/${row.to}`} sort="-seconds" /></Panel>}
    </>
  );
}
