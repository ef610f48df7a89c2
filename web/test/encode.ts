// The other side of src/wire/frame.ts, as docs/observer.md draws it: for tests and for the server they talk to.
import type { Column } from "../src/wire/frame";

export interface Made {
  mode?: number;
  channel: number;
  id: number;
  sequence?: number;
  time?: number;
  rows: number;
  columns: readonly (readonly [number, Column])[]; // number, data
}

const utf8 = new TextEncoder();

function typeOf(column: Column): number {
  return Array.isArray(column) ? 5 : column instanceof Float64Array ? 1 : column instanceof Float32Array ? 2 : column instanceof Uint32Array ? 3 : column instanceof Uint16Array ? 6 : 4;
}

function bytesOf(column: Column): Uint8Array {
  if (!Array.isArray(column)) {
    return new Uint8Array(column.buffer, column.byteOffset, column.byteLength);
  }
  const parts = column.map((text) => utf8.encode(text));
  const offsets = new Uint32Array(column.length + 1);
  parts.forEach((part, row) => (offsets[row + 1] = offsets[row] + part.length));
  const out = new Uint8Array(offsets.byteLength + offsets[column.length]);
  out.set(new Uint8Array(offsets.buffer));
  parts.forEach((part, row) => out.set(part, offsets.byteLength + offsets[row]));
  return out;
}

export function encodeFrame(made: Made): ArrayBuffer {
  const datas = made.columns.map(([, column]) => bytesOf(column));
  const size = datas.reduce((sum, data) => sum + ((data.length + 7) & ~7), 32 + 8 * datas.length);
  const out = new ArrayBuffer(size);
  const view = new DataView(out);
  view.setUint8(0, 1);
  view.setUint8(1, made.mode ?? 0);
  view.setUint16(2, made.channel, true);
  view.setUint32(4, made.id, true);
  view.setUint32(8, made.sequence ?? 0, true);
  view.setUint32(12, made.rows, true);
  view.setFloat64(16, made.time ?? 0, true);
  view.setUint32(24, datas.length, true);
  let at = 32 + 8 * datas.length;
  made.columns.forEach(([number, column], index) => {
    view.setUint8(32 + 8 * index, typeOf(column));
    view.setUint16(34 + 8 * index, number, true);
    view.setUint32(36 + 8 * index, datas[index].length, true);
    new Uint8Array(out).set(datas[index], at);
    at += (datas[index].length + 7) & ~7;
  });
  return out;
}
