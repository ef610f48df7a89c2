// A table that sorts by any of its columns and makes only the rows that are seen, so ten thousand are no slower
// than ten. Rows are walked with j and k, opened with Enter.
import { useSignal } from "@preact/signals";
import type { ComponentChildren } from "preact";
import { useLayoutEffect, useMemo, useRef, useState } from "preact/hooks";
import { byName } from "../base/format";
import { useKeys } from "../base/keys";
import { go } from "../base/route";

export interface GridColumn<T> {
  id: string;
  title: string;
  says?: string;
  text?: boolean; // left-aligned; numbers stand right
  grow?: boolean;
  value(row: T): number | string; // what to sort by
  cell?(row: T): ComponentChildren;
}

export interface GridProps<T> {
  label: string;
  rows: readonly T[];
  columns: readonly GridColumn<T>[];
  id(row: T): string | number;
  href?(row: T): string;
  sort?: string; // a column's id, "-" before it for descending
  empty?: ComponentChildren;
  className?(row: T): string;
  tall?: boolean; // as tall as its place, not as its rows
}

const ROW = 26;
const AROUND = 8; // rows made above and below what is seen

function order<T>(column: GridColumn<T>, down: boolean): (one: T, other: T) => number {
  const sign = down ? -1 : 1;
  return (one, other) => {
    const a = column.value(one);
    const b = column.value(other);
    if (typeof a === "string" || typeof b === "string") {
      return sign * byName(String(a), String(b));
    }
    // What is not known comes last, whichever way.
    return Number.isNaN(a) ? (Number.isNaN(b) ? 0 : 1) : Number.isNaN(b) ? -1 : sign * (a - b);
  };
}

export function Grid<T>(props: GridProps<T>) {
  const [sort, setSort] = useState(props.sort ?? "");
  const [view, setView] = useState({ top: 0, height: 600 });
  const selected = useSignal<string | number | undefined>(undefined); // keys may come faster than drawings
  const box = useRef<HTMLDivElement>(null);
  const down = sort.startsWith("-");
  const column = props.columns.find((one) => one.id === sort.replace("-", ""));
  const rows = useMemo(() => (column ? [...props.rows].sort(order(column, down)) : props.rows), [props.rows, column?.id, down]);

  useLayoutEffect(() => {
    const element = box.current;
    if (element !== null && element.clientHeight !== view.height) {
      setView({ top: element.scrollTop, height: element.clientHeight });
    }
  });

  const first = Math.max(0, Math.floor(view.top / ROW) - AROUND);
  const last = Math.min(rows.length, Math.ceil((view.top + view.height) / ROW) + AROUND);

  const move = (by: number) => {
    const at = rows.findIndex((row) => props.id(row) === selected.value);
    const next = Math.min(Math.max(at + by, 0), rows.length - 1);
    if (next >= 0 && rows.length > 0) {
      selected.value = props.id(rows[next]);
      const element = box.current;
      if (element !== null) {
        const top = next * ROW;
        const bottom = top + 2 * ROW - element.clientHeight;
        element.scrollTop = Math.max(Math.min(element.scrollTop, top), bottom);
      }
    }
  };
  useKeys([
    { keys: "j", says: "next row", run: () => move(1) },
    { keys: "k", says: "row before", run: () => move(-1) },
    {
      keys: "Enter",
      says: "open the row",
      run: () => {
        const row = rows.find((one) => props.id(one) === selected.value);
        if (row !== undefined && props.href !== undefined) {
          go(props.href(row));
        }
      },
    },
  ]);

  const choose = (one: GridColumn<T>) => {
    const firstDown = !one.text;
    const now = sort.replace("-", "") === one.id ? !down : firstDown;
    setSort(`${now ? "-" : ""}${one.id}`);
  };

  if (rows.length === 0 && props.empty !== undefined) {
    return <p class="empty">{props.empty}</p>;
  }
  return (
    <div
      ref={box}
      class={props.tall ? "grid tall" : "grid"}
      tabIndex={0}
      role="region"
      aria-label={props.label}
      onScroll={(event) => setView({ top: event.currentTarget.scrollTop, height: event.currentTarget.clientHeight })}
    >
      <table aria-rowcount={rows.length + 1}>
        <thead>
          <tr>
            {props.columns.map((one) => {
              const active = one === column;
              return (
                <th key={one.id} scope="col" class={`${one.text ? "text" : ""} ${one.grow ? "grow" : ""}`}
                  aria-sort={active ? (down ? "descending" : "ascending") : undefined} title={one.says}>
                  <button type="button" onClick={() => choose(one)}>
                    {one.title}
                    <span aria-hidden="true">{active ? (down ? " ▾" : " ▴") : ""}</span>
                  </button>
                </th>
              );
            })}
          </tr>
        </thead>
        <tbody>
          {first > 0 && <tr aria-hidden="true" style={{ height: `${first * ROW}px` }} />}
          {rows.slice(first, last).map((row, index) => {
            const id = props.id(row);
            return (
              <tr key={id} aria-rowindex={first + index + 2} aria-selected={id === selected.value ? true : undefined}
                class={`${id === selected.value ? "selected" : ""} ${props.className?.(row) ?? ""}`} onClick={() => (selected.value = id)}>
                {props.columns.map((one) => (
                  <td key={one.id} class={`${one.text ? "text" : ""} ${one.grow ? "grow" : ""}`}>{one.cell ? one.cell(row) : one.value(row)}</td>
                ))}
              </tr>
            );
          })}
          {last < rows.length && <tr aria-hidden="true" style={{ height: `${(rows.length - last) * ROW}px` }} />}
        </tbody>
      </table>
    </div>
  );
}
