// Results that went from worker to worker: a matrix, who waited for whom.
import { byName, bytes, count, duration, plural } from "../base/format";
import { css, sequential, textOn } from "../base/palette";
import { useWorkers, workers } from "../data/tables";
import { hostOf } from "../draw/timeline";
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

interface Kind {
  type: string;
  count: number;
  bytes: number;
  seconds: number;
}

const MATRIX_MOST = 40; // workers; beyond, hosts; of more than so many, those that waited longest
const nameOf = (id: number): string => workers.rows.get(id)?.name ?? String(id);
const hostFor = (id: number): string => hostOf(workers.rows.get(id)?.address ?? String(id));

const KINDS: readonly GridColumn<Kind>[] = [
  { id: "type", title: "type of result", text: true, grow: true, value: (row) => row.type, cell: (row) => <span class="key">{row.type}</span> },
  { id: "count", title: "moved", says: "came to a worker that had not computed them", value: (row) => row.count, cell: (row) => count(row.count) },
  { id: "bytes", title: "in all", value: (row) => row.bytes, cell: (row) => bytes(row.bytes) },
  { id: "mean", title: "mean size", value: (row) => row.bytes / row.count, cell: (row) => bytes(row.bytes / row.count) },
  { id: "seconds", title: "tasks waited", says: "runs all of whose inputs are of this type, for their inputs", value: (row) => row.seconds, cell: (row) => duration(row.seconds) },
];

const PAIRS: readonly GridColumn<Pair>[] = [
  { id: "from", title: "from", text: true, value: (row) => nameOf(row.from) },
  { id: "to", title: "to", text: true, value: (row) => nameOf(row.to), grow: true },
  { id: "count", title: "transfers", value: (row) => row.count, cell: (row) => count(row.count) },
  { id: "seconds", title: "in all", value: (row) => row.seconds, cell: (row) => duration(row.seconds) },
  { id: "mean", title: "mean", value: (row) => row.seconds / row.count, cell: (row) => duration(row.seconds / row.count) },
  { id: "longest", title: "longest", value: (row) => row.longest, cell: (row) => duration(row.longest) },
];

interface Cell {
  count: number;
  seconds: number;
  longest: number;
}

interface Square {
  what: string;
  names: string[];
  cells: Map<string, Cell>;
  left: number; // that have no place in it
}

// Worker by worker; of too many, host by host; of too many of those, the ones with the most.
function squareOf(pairs: readonly Pair[]): Square {
  const few = new Set(pairs.flatMap((pair) => [pair.from, pair.to])).size <= MATRIX_MOST;
  const name = few ? nameOf : hostFor;
  const cells = new Map<string, Cell>();
  const sums = new Map<string, number>();
  for (const pair of pairs) {
    const [from, to] = [name(pair.from), name(pair.to)];
    const cell = cells.get(`${from}/${to}`) ?? { count: 0, seconds: 0, longest: 0 };
    cells.set(`${from}/${to}`, { count: cell.count + pair.count, seconds: cell.seconds + pair.seconds, longest: Math.max(cell.longest, pair.longest) });
    [from, to].forEach((one) => sums.set(one, (sums.get(one) ?? 0) + pair.seconds));
  }
  const names = [...sums].sort((one, other) => other[1] - one[1]).slice(0, MATRIX_MOST).map(([one]) => one).sort(byName);
  return { what: few ? "worker" : "host", names, cells, left: sums.size - names.length };
}

function Matrix({ square: { what, names, cells, left } }: { square: Square }) {
  const most = Math.max(...[...cells.values()].map((cell) => cell.seconds), 1e-9);
  return (
    <div class="scroll" tabIndex={0} role="region" aria-label="Matrix of transfers">
      <table class="matrix">
        <thead><tr><th scope="col">from ╲ to</th>{names.map((name) => <th key={name} scope="col">{name}</th>)}</tr></thead>
        <tbody>
          {names.map((from) => (
            <tr key={from}>
              <th scope="row">{from}</th>
              {names.map((to) => {
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
      {left > 0 && <p class="hint">and {plural(left, what)} more, which waited less.</p>}
    </div>
  );
}

export function Transfers() {
  useWorkers();
  const { data, error } = useAnswer("transfers", {}, 2);
  const pairs: Pair[] = data?.transfers ?? [];
  const kinds: Kind[] = data?.types ?? [];
  const square = squareOf(pairs);
  return (
    <>
      <Problem error={error} />
      {data && pairs.length === 0 && <Empty>No result went from one worker to another yet.</Empty>}
      {kinds.length > 0 && <Panel title="By type"><Grid label="Types of results" rows={kinds} columns={KINDS} id={(row) => row.type} sort="-bytes" /></Panel>}
      {pairs.length > 0 && <Panel title={`Seconds of transfer, ${square.what} to ${square.what}`} side="how long tasks waited; the darker the less"><Matrix square={square} /></Panel>}
      {pairs.length > 0 && <Panel title="Pairs"><Grid label="Pairs of workers" rows={pairs} columns={PAIRS} id={(row) => `${row.from}/${row.to}`} sort="-seconds" /></Panel>}
    </>
  );
}
